"""A blend's equations against NumPy."""

import numpy as np
import pytest

from nerula.blend import blended
from nerula.metrics import Answers

TRUTH = np.array([0, 1, 1])


def of(*rows: list[float]) -> Answers:
    score = np.array(rows)
    return Answers(TRUTH, score, score.argmax(1))


def test_values_are_averaged() -> None:
    found = blended("values", of([40.0], [60.0], [80.0]), of([50.0], [50.0], [90.0]))
    assert found.score.tolist() == [[45.0], [55.0], [85.0]]
    assert found.predicted.tolist() == [45.0, 55.0, 85.0]


def test_labels_are_averaged_by_their_odds() -> None:
    found = blended(
        "labels", of([0.9, 0.2], [0.5, 0.5], [1.0, 0.0]), of([0.5, 0.8], [0.1, 0.5], [0.5, 0.5])
    )
    odds = np.sqrt([[9 * 1, 0.25 * 4], [1 / 9, 1]])
    assert np.allclose(found.score[:2], odds / (1 + odds))
    assert np.isfinite(found.score).all()
    assert found.score[2, 0] > 0.99
    assert found.score[2, 1] < 0.01


@pytest.mark.parametrize("count", [2, 3])
def test_classes_are_averaged_by_their_logarithms(count: int) -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.dirichlet(np.ones(count), 3) for _ in range(2))
    found = blended("classes", of(*one.tolist()), of(*other.tolist()))
    means = np.sqrt(one * other)
    assert np.allclose(found.score, means / means.sum(1, keepdims=True))
    assert found.predicted.tolist() == means.argmax(1).tolist()
    assert found.truth is TRUTH


def test_who_agrees_with_itself_says_the_same() -> None:
    one = of([0.3, 0.7], [0.6, 0.4], [0.01, 0.99])
    for kind in ("classes", "labels", "values"):
        assert np.allclose(blended(kind, one, one).score, one.score)
