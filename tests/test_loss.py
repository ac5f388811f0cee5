"""Losses against plain NumPy, and the watch on collapse."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerula.loss import effective_rank, huber, negative_cosine, spread


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@given(seed=st.integers(0, 1000), size=st.floats(1e-2, 1e3))
def test_negative_cosine(seed: int, size: float) -> None:
    a, b = size * draw(6, 16, seed=seed), draw(6, 16, seed=seed + 1)
    expected = -np.mean((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))
    assert negative_cosine(torch.tensor(a), torch.tensor(b)).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_the_cosine_of_nothing_is_zero_and_not_nan() -> None:
    a = torch.zeros(3, 8, requires_grad=True)
    loss = negative_cosine(a, torch.ones(3, 8))
    loss.backward()
    assert loss == 0
    assert torch.isfinite(a.grad).all()


@given(seed=st.integers(0, 1000), delta=st.floats(0.05, 5))
def test_huber(seed: int, delta: float) -> None:
    y, guess = draw(3, 2, 50, seed=seed), 2 * draw(3, 2, 50, seed=seed + 1)
    where = np.random.default_rng(seed).random(y.shape) < 0.7
    error = np.abs(y - guess)
    each = np.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))
    found = huber(torch.tensor(guess), torch.tensor(y), torch.tensor(where), delta)
    assert found.item() == pytest.approx(each[where].mean(), rel=1e-5)


def test_huber_of_nothing_is_zero() -> None:
    nothing = torch.zeros(2, 1, 10, dtype=torch.bool)
    assert huber(torch.ones(2, 1, 10), torch.zeros(2, 1, 10), nothing) == 0


@given(seed=st.integers(0, 1000), rows=st.integers(2, 60))
def test_effective_rank_is_the_participation_ratio(seed: int, rows: int) -> None:
    z = draw(rows, 12, seed=seed) * np.geomspace(1, 0.01, 12, dtype=np.float32)
    centred = (z - z.mean(0)).astype(np.float64)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    expected = values.sum() ** 2 / (values**2).sum()
    assert effective_rank(torch.tensor(z)).item() == pytest.approx(expected, rel=1e-3)


def test_the_watch_tells_collapse_from_health() -> None:
    healthy = torch.tensor(draw(4000, 32))
    assert effective_rank(healthy) > 30
    assert spread(healthy) == pytest.approx(1, abs=0.02)
    line = healthy[:, :1] * torch.ones(1, 32)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    point = torch.ones(100, 32) + 1e-4 * healthy[:100]
    assert spread(point) < 1e-3
    assert torch.isfinite(effective_rank(torch.ones(100, 32)))
    assert spread(1000 * healthy) == pytest.approx(spread(healthy).item(), rel=1e-5)
