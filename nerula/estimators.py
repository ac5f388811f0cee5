"""Estimators: what probes need beside scikit-learn's, in its manner."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.forms import Floats, shares, sigmoid


class Softmax:
    """Margins to numbers between 0 and 1 where there is nothing to calibrate them by."""

    def predict_proba(self, margins: Floats) -> Floats:
        """Shares that add up to 1."""
        return shares(np.hstack((-margins, margins)) if margins.shape[1] == 1 else margins)


class EachLabel:
    """One linear model per label; where training has only one answer, that one."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def fit(self, x: Floats, target: NDArray[np.int64]) -> "EachLabel":
        """Fit all."""
        self.coef_ = np.zeros((target.shape[1], x.shape[1]))
        self.intercept_ = np.where(target.mean(0) > 0.5, np.inf, -np.inf)
        for label, column in enumerate(target.T):
            if 0 < column.mean() < 1:
                one = self._make().fit(x, column)
                self.coef_[label], self.intercept_[label] = one.coef_[0], one.intercept_[0]
        return self

    def predict_proba(self, x: Floats) -> Floats:
        """(N, labels)."""
        return sigmoid(x @ self.coef_.T + self.intercept_)


def label_scores(estimator: Any, x: Floats) -> Floats:
    """(N, labels), whatever way a model gives them."""
    score = estimator.predict_proba(x)
    if not isinstance(score, list):
        return np.asarray(score, np.float64)
    held = zip(score, estimator.classes_, strict=True)
    return np.stack(
        [one[:, 1] if len(classes) == 2 else np.full(len(x), classes[0]) for one, classes in held],
        axis=1,
    ).astype(np.float64)
