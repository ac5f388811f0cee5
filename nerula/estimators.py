"""Estimators: what probes need beside scikit-learn's, in its manner."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.forms import FORMS, Floats, arrays_of, shares, sigmoid

ROWS = 1024
"""Rows that are compared with all support vectors at once."""


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


class Radial:
    """scikit-learn's SVC or SVR with a radial kernel, whose matrix is one product.

    The machine would compute it value by value, which is most of its time: here it gets the whole
    matrix. The answers are the same.
    """

    def __init__(self, machine: Any, *, gamma: float) -> None:
        self._machine, self.gamma = machine, gamma

    def fit(self, x: Floats, target: NDArray[Any]) -> "Radial":
        """Fit with the matrix of all rows, which has to fit into memory."""
        fitted = self._machine.set_params(kernel="precomputed").fit(self._near(x), target)
        self.support_vectors_, self.dual_coef_ = x[fitted.support_], fitted.dual_coef_
        self.intercept_, self.n_support_ = fitted.intercept_, fitted.n_support_
        if hasattr(fitted, "classes_"):
            self.classes_ = fitted.classes_
        del self._machine
        return self

    def decision_function(self, x: Floats) -> Floats:
        """Margins: (N,) of two classes, else (N, classes)."""
        raw = self._raw(x)
        return raw[:, 0] if raw.shape[1] == 1 else raw

    def predict(self, x: Floats) -> NDArray[Any]:
        """Classes, or values."""
        raw = self._raw(x)
        if not hasattr(self, "classes_"):
            return raw[:, 0]
        place = (raw[:, 0] > 0) * 1 if raw.shape[1] == 1 else np.round(raw).argmax(1)
        return np.asarray(self.classes_[place])

    def _raw(self, x: Floats) -> Floats:
        form, arrays = arrays_of(self, "")
        parts = [x[start : start + ROWS] for start in range(0, len(x), ROWS)]
        return np.concatenate([FORMS[form].apply(arrays, part) for part in parts])

    def _near(self, x: Floats) -> Floats:
        """exp(-gamma |x_i - x_j|^2) of all rows, in place: there is room for one such matrix."""
        squares = (x**2).sum(1)
        near = x @ x.T
        near *= 2 * self.gamma
        near -= self.gamma * squares
        near -= self.gamma * squares[:, None]
        np.minimum(near, 0, out=near)
        return np.exp(near, out=near)


class Ensemble:
    """Small networks that begin differently, on the largest principal values; their mean answer.

    Together they are one wide network without a rotation before it, and are kept as that.
    """

    def __init__(self, makers: Sequence[Callable[[], Any]], *, most: int, seed: int) -> None:
        self._makers, self._most, self._seed = makers, most, seed

    def fit(self, x: Floats, target: NDArray[Any]) -> "Ensemble":
        """Fit all, and join them."""
        axes = self._axes(x)
        inner = (x @ axes).astype(np.float32)
        ones = [make().fit(inner, target) for make in self._makers]
        first = np.hstack([one.coefs_[0] for one in ones])
        second = np.vstack([one.coefs_[1] for one in ones]) / len(ones)
        biases = np.hstack([one.intercepts_[0] for one in ones]).astype(np.float64)
        offsets: Floats = np.array([one.intercepts_[1] for one in ones], np.float64).mean(axis=0)
        self._several = target.ndim == 2
        if self._several:  # where training has only one answer, that one
            alone = (target == target[0]).all(0)
            second[:, alone] = 0
            offsets[alone] = np.where(target[0, alone], np.inf, -np.inf)
        self.coefs_, self.intercepts_ = [axes @ first, second], [biases, offsets]
        if hasattr(ones[0], "classes_"):
            self.classes_ = ones[0].classes_
        return self

    def predict(self, x: Floats) -> Floats:
        """Values."""
        return self._raw(x)[:, 0]

    def predict_proba(self, x: Floats) -> Floats:
        """(N, classes) that add up to 1, or (N, labels) of their own."""
        raw = self._raw(x)
        return sigmoid(raw) if self._several else shares(raw)

    def _raw(self, x: Floats) -> Floats:
        form, arrays = arrays_of(self, "")
        return FORMS[form].apply(arrays, x)

    def _axes(self, x: Floats) -> Floats:
        """What standardised values are multiplied with, so that they stay near 1: (D, kept)."""
        from sklearn.decomposition import PCA

        most = min(self._most, len(x) - 1)
        if x.shape[1] <= most:
            return np.eye(x.shape[1])
        found = PCA(most, svd_solver="randomized", random_state=self._seed).fit(x)
        size = np.sqrt(found.explained_variance_.mean())
        axes: Floats = found.components_.T / (size if size > 1e-6 else 1.0)
        return axes


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
