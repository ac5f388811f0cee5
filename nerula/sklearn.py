"""For scikit-learn: embeddings as the first step of a pipeline."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from nerula import given
from nerula.errors import DefectError
from nerula.recording import Recording

if TYPE_CHECKING:
    from nerula.model import Model

_NOTHING = ("signal-all-invalid", "length-zero")
_KEPT = 4
"""Models that stay in memory, so that clones and folds load each but once."""


class ECGEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Recordings of one lead, a row each, to embeddings.

    `X` is (recordings, time), in `unit`, at `rate`; NaN is missing and is hidden from the encoder,
    never filled. Recordings of different lengths become one array with `stack`. The model is
    trained already: `fit` learns nothing and looks at no label, so nothing of the rows of a test
    can leak through it. A row that holds no ECG at all, such as a flat line, becomes a row of NaN.

    It keeps the contract of scikit-learn's estimators but for the last digit of single precision:
    docs/python.md says which of the published checks is left out, and why. What is pickled is the
    name of the model, not the model.

    Parameters
    ----------
    model
        Folder of a model or of a finished run, or the name of one that Nerula brings along.
    rate
        Samples per second of `X`.
    lead
        Which lead it is.
    unit
        V, mV, uV or nV.
    device
        cpu, or cuda.
    precision
        bf16 is about twice as fast where the processor has instructions for it.

    >>> import nerula
    >>> from nerula.sklearn import ECGEmbedder
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> ecg = nerula.sample.load()
    >>> X, y = ecg.x[:60, 0], ecg.has("NORM")[:60]  # (60, 1000) mV at 100 Hz
    >>> classify = make_pipeline(ECGEmbedder(), StandardScaler(), LogisticRegression())
    >>> classify.fit(X, y).predict_proba(X[:5]).shape
    (5, 2)
    """

    def __init__(
        self,
        model: "str | Path | Model" = "nerula-small",
        *,
        rate: float = 100.0,
        lead: str = "II",
        unit: str = "mV",
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.rate = rate
        self.lead = lead
        self.unit = unit
        self.device = device
        self.precision = precision

    def fit(self, X: ArrayLike, y: object = None) -> Self:  # noqa: N803, ARG002
        """Load the model, and remember how long the recordings are."""
        self._checked(X, reset=True)
        self._n_features_out = self._model().dimensions
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """(recordings, time) to (recordings, D)."""
        check_is_fitted(self)
        x = self._checked(X, reset=False)
        recordings, _ = given.recordings(
            list(x), self.rate, lead=self.lead, unit=self.unit, valid=None, leads=None
        )
        model = self._model()
        found = [_prepared(model, one) for one in recordings]
        z = np.full((len(x), self._n_features_out), np.nan, np.float32)
        windows = model.embed_prepared((one.x, one.valid) for one in found if one is not None)
        for row in (number for number, one in enumerate(found) if one is not None):
            z[row] = next(windows).mean()
        return z

    def _checked(self, x: ArrayLike, *, reset: bool) -> NDArray[np.float32]:
        checked: NDArray[np.float32] = validate_data(
            self, x, reset=reset, dtype=np.float32, ensure_all_finite="allow-nan"
        )
        return checked

    def _model(self) -> "Model":
        if isinstance(self.model, str | Path):
            return _loaded(str(self.model), self.device, self.precision)
        return self.model

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def stack(recordings: Sequence[ArrayLike]) -> NDArray[np.float32]:
    """Recordings (time,) of different lengths as one array, NaN where a shorter one has ended.

    >>> stack([[0.1, 0.2, 0.3], [0.4]])
    array([[0.1, 0.2, 0.3],
           [0.4, nan, nan]], dtype=float32)
    """
    rows = [np.asarray(one, np.float32).reshape(-1) for one in recordings]
    stacked = np.full((len(rows), max(map(len, rows), default=0)), np.nan, np.float32)
    for row, one in zip(stacked, rows, strict=True):
        row[: len(one)] = one
    return stacked


def _prepared(model: "Model", recording: Recording) -> Recording | None:
    """A recording under the model's contract; None where it holds nothing."""
    try:
        return model.prepare(recording)
    except DefectError as error:
        if error.finding.code in _NOTHING:
            return None
        raise


@lru_cache(maxsize=_KEPT)
def _loaded(name: str, device: str, precision: str) -> "Model":
    from nerula import bundle

    return bundle.load(name, device=device, precision=precision)
