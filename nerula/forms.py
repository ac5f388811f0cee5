"""Forms: what probes compute, from arrays, with NumPy alone.

Each form knows three things: to take the arrays out of a fitted scikit-learn estimator, to check
arrays from a file, and to apply them to standardised embeddings (N, D).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
_ROWS = 256
"""Rows that go through all trees at once."""


class Form(NamedTuple):
    """One way to compute an answer."""

    apply: Callable[[Arrays, Floats], Floats]
    """Arrays and x (N, D) to raw scores (N, R)."""
    check: Callable[[Arrays, int], int]
    """Arrays and D to R; ValueError where they do not belong together."""


def arrays_of(estimator: Any, kind: str) -> tuple[str, dict[str, NDArray[Any]]]:
    """The form of a fitted estimator, and its arrays."""
    if hasattr(estimator, "estimators_"):
        return "forest", _forest_of(estimator, kind)
    if hasattr(estimator, "support_vectors_"):
        return "kernel", _kernel_of(estimator)
    if hasattr(estimator, "coefs_"):
        layers = zip(estimator.coefs_, estimator.intercepts_, strict=True)
        held: dict[str, NDArray[Any]] = {}
        for number, (weights, biases) in enumerate(layers):
            held |= {f"weights.{number}": weights, f"biases.{number}": biases}
        return "network", held
    return "linear", linear_of(estimator)


def linear_of(estimator: Any) -> dict[str, NDArray[Any]]:
    """Coefficients (R, D) and intercepts (R,) of a linear model, or of one for each label."""
    coefficients = np.atleast_2d(np.asarray(estimator.coef_, np.float64))
    intercepts = np.atleast_1d(np.asarray(estimator.intercept_, np.float64))
    return {"coefficients": coefficients, "intercepts": intercepts}


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    half: Floats = 0.5 * (1 + np.tanh(x / 2))
    return half


def shares(raw: Floats) -> Floats:
    """Raw scores (N, R) to shares that add up to 1: R of them, or 2 where R is 1."""
    if raw.shape[1] == 1:
        second = sigmoid(raw)
        return np.hstack((1 - second, second))
    powers = np.exp(raw - raw.max(1, keepdims=True))
    found: Floats = powers / powers.sum(1, keepdims=True)
    return found


# --- linear --------------------------------------------------------------------------------------


def _linear(arrays: Arrays, x: Floats) -> Floats:
    raw: Floats = x @ arrays["coefficients"].T + arrays["intercepts"]
    return raw


def _linear_check(arrays: Arrays, dimensions: int) -> int:
    coefficients, intercepts = arrays["coefficients"], arrays["intercepts"]
    _want(coefficients.shape == (len(intercepts), dimensions), "coefficients")
    return len(intercepts)


# --- network -------------------------------------------------------------------------------------


def _network(arrays: Arrays, x: Floats) -> Floats:
    last = _layers(arrays) - 1
    for number in range(last):
        x = np.maximum(x @ arrays[f"weights.{number}"] + arrays[f"biases.{number}"], 0)
    raw: Floats = x @ arrays[f"weights.{last}"] + arrays[f"biases.{last}"]
    return raw


def _network_check(arrays: Arrays, dimensions: int) -> int:
    wide = dimensions
    for number in range(_layers(arrays)):
        weights, biases = arrays[f"weights.{number}"], arrays[f"biases.{number}"]
        _want(weights.shape == (wide, len(biases)), f"weights.{number}")
        wide = len(biases)
    return wide


def _layers(arrays: Arrays) -> int:
    return sum(name.startswith("weights.") for name in arrays)


# --- forest --------------------------------------------------------------------------------------


def _forest_of(estimator: Any, kind: str) -> dict[str, NDArray[Any]]:
    """All trees one after the other; a node without children has feature -1."""
    parts: list[tuple[NDArray[Any], ...]] = []
    roots, first = [], 0
    for one in estimator.estimators_:
        tree = one.tree_
        inner = tree.children_left >= 0
        feature = np.where(inner, tree.feature, -1)
        children = [
            np.where(inner, side + first, -1) for side in (tree.children_left, tree.children_right)
        ]
        parts.append((feature, tree.threshold, *children, _leaves(tree.value, one, kind)))
        roots.append(first)
        first += len(feature)
    feature, threshold, left, right, leaf = (
        np.concatenate(one) for one in zip(*parts, strict=True)
    )
    return {
        "roots": np.array(roots, np.int32),
        "feature": feature.astype(np.int32),
        "threshold": threshold.astype(np.float64),
        "left": left.astype(np.int32),
        "right": right.astype(np.int32),
        "leaf": leaf.astype(np.float64),
    }


def _leaves(value: Floats, tree: Any, kind: str) -> Floats:
    """What a node says (nodes, R), from scikit-learn's (nodes, outputs, classes)."""
    if kind == "values":
        return value[:, 0, :1]
    if kind == "classes":
        found: Floats = value[:, 0] / value[:, 0].sum(1, keepdims=True)
        return found
    columns = [
        value[:, label, 1] / value[:, label, :2].sum(1)
        if len(held) == 2
        else np.full(len(value), float(held[0]))
        for label, held in enumerate(tree.classes_)
    ]
    return np.stack(columns, axis=1)


def _forest(arrays: Arrays, x: Floats) -> Floats:
    """Mean over trees; embeddings are compared as float32, as scikit-learn does."""
    parts = [
        _descend(arrays, x[first : first + _ROWS].astype(np.float32))
        for first in range(0, len(x), _ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty((0, arrays["leaf"].shape[1]))


def _descend(arrays: Arrays, x: NDArray[np.float32]) -> Floats:
    rows = np.arange(len(x))[:, None]
    node = np.repeat(arrays["roots"][None], len(x), axis=0)
    while True:
        feature = arrays["feature"][node]
        inner = feature >= 0
        if not inner.any():
            found: Floats = arrays["leaf"][node].mean(1)
            return found
        left = x[rows, np.maximum(feature, 0)] <= arrays["threshold"][node]
        node = np.where(inner, np.where(left, arrays["left"][node], arrays["right"][node]), node)


def _forest_check(arrays: Arrays, dimensions: int) -> int:
    """Every way down ends: children come after their parents, and inside the forest."""
    roots, feature = arrays["roots"], arrays["feature"]
    count = len(feature)
    whole = all(arrays[name].dtype == np.int32 for name in ("roots", "feature", "left", "right"))
    _want(whole and len(roots) > 0, "roots")
    _want(roots.min() >= 0 and roots.max() < count, "roots")
    _want(feature.ndim == 1 and feature.max(initial=-1) < dimensions, "feature")
    _want(arrays["threshold"].shape == (count,), "threshold")
    leaf = arrays["leaf"]
    _want(leaf.ndim == 2 and len(leaf) == count, "leaf")
    inner = np.flatnonzero(feature >= 0)
    for side in ("left", "right"):
        _want(arrays[side].shape == (count,), side)
        child = arrays[side][inner]
        _want(bool((child > inner).all() and (child < count).all()), side)
    return int(leaf.shape[1])


# --- kernel --------------------------------------------------------------------------------------


def _kernel_of(estimator: Any) -> dict[str, NDArray[Any]]:
    """Support vectors and their weights, of an SVC or an SVR with a radial kernel."""
    counts = getattr(estimator, "n_support_", np.empty(0)) if hasattr(estimator, "classes_") else 0
    return {
        "vectors": np.asarray(estimator.support_vectors_, np.float64),
        "weights": np.asarray(estimator.dual_coef_, np.float64),
        "counts": np.atleast_1d(np.asarray(counts, np.int64)),
        "intercepts": np.asarray(estimator.intercept_, np.float64),
        "gamma": np.asarray(estimator.gamma, np.float64),
    }


def _kernel(arrays: Arrays, x: Floats) -> Floats:
    """Values (N, 1) of an SVR; margins of an SVC: (N, 1) of two classes, else one per class."""
    vectors, weights, counts = arrays["vectors"], arrays["weights"], arrays["counts"]
    apart = (x**2).sum(1)[:, None] + (vectors**2).sum(1) - 2 * x @ vectors.T
    near = np.exp(-arrays["gamma"] * np.maximum(apart, 0))
    if len(counts) < 3:
        raw: Floats = near @ weights.T + arrays["intercepts"]
        return raw
    ends = np.cumsum(counts)
    groups = [slice(int(end - size), int(end)) for end, size in zip(ends, counts, strict=True)]
    pairs = [(i, j) for i in range(len(counts)) for j in range(i + 1, len(counts))]
    votes, confidence = np.zeros((2, len(x), len(counts)))
    for number, (i, j) in enumerate(pairs):
        margin = near[:, groups[i]] @ weights[j - 1, groups[i]]
        margin += near[:, groups[j]] @ weights[i, groups[j]] + arrays["intercepts"][number]
        votes[:, i] += margin >= 0
        votes[:, j] += margin < 0
        confidence[:, i] += margin
        confidence[:, j] -= margin
    scores: Floats = votes + confidence / (3 * (np.abs(confidence) + 1))
    return scores


def _kernel_check(arrays: Arrays, dimensions: int) -> int:
    vectors, counts = arrays["vectors"], arrays["counts"]
    _want(vectors.ndim == 2 and vectors.shape[1] == dimensions, "vectors")
    _want(arrays["gamma"].shape == (), "gamma")
    classes = len(counts) if counts.any() else 2
    _want(not counts.any() or (counts.min() >= 0 and counts.sum() == len(vectors)), "counts")
    _want(arrays["weights"].shape == (classes - 1, len(vectors)), "weights")
    _want(arrays["intercepts"].shape == (classes * (classes - 1) // 2,), "intercepts")
    return classes if classes > 2 else 1


def _want(holds: bool, name: str) -> None:
    if not holds:
        raise ValueError(f"the array {name} does not fit the others")


FORMS: dict[str, Form] = {
    "linear": Form(_linear, _linear_check),
    "network": Form(_network, _network_check),
    "forest": Form(_forest, _forest_check),
    "kernel": Form(_kernel, _kernel_check),
}
"""Every form by its name."""
