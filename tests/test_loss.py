"""Losses against plain NumPy, and the watch on collapse."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nerula.loss import (
    effective_rank,
    huber,
    info_nce,
    masked_mse,
    negative_cosine,
    nt_xent,
    spread,
)
from nerula.precision import in_full


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_losses_compute_in_float32_at_least() -> None:
    single, double = torch.randn(4, 8), torch.randn(4, 8, dtype=torch.float64)
    assert in_full(single) is single
    assert in_full(double) is double
    assert in_full(single.bfloat16()).dtype == in_full(single > 0).dtype == torch.float32
    assert nt_xent(single.bfloat16(), single.bfloat16()).dtype == torch.float32
    assert nt_xent(double, double).dtype == torch.float64


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
    unit = z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True)
    centred = unit - unit.mean(0)
    values = np.linalg.svd(centred, compute_uv=False) ** 2
    expected = values.sum() ** 2 / (values**2).sum()
    assert effective_rank(torch.tensor(z)).item() == pytest.approx(expected, rel=1e-3)


def test_the_watch_tells_collapse_from_health() -> None:
    healthy = torch.tensor(draw(4000, 32))
    assert effective_rank(healthy) > 30
    assert spread(healthy) == pytest.approx(1, abs=0.02)
    loud = healthy * torch.where(torch.arange(len(healthy)) % 100 == 0, 1000.0, 1.0)[:, None]
    assert effective_rank(loud) > 30
    line = healthy[:, :1] * torch.ones(1, 32)
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    point = torch.ones(100, 32) + 1e-4 * healthy[:100]
    assert spread(point) < 1e-3
    assert torch.isfinite(effective_rank(torch.ones(100, 32)))
    assert spread(1000 * healthy) == pytest.approx(spread(healthy).item(), rel=1e-5)


def unit(z: np.ndarray) -> np.ndarray:
    return z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 12), temperature=st.floats(0.1, 2))
def test_nt_xent_is_equation_1_of_simclr(seed: int, rows: int, temperature: float) -> None:
    a, b = draw(rows, 8, seed=seed), draw(rows, 8, seed=seed + 1)
    z = unit(np.concatenate([a, b]))
    similar = np.exp(z @ z.T / temperature)
    each = []
    for i in range(2 * rows):
        j = (i + rows) % (2 * rows)
        others = sum(similar[i, k] for k in range(2 * rows) if k != i)
        each.append(-np.log(similar[i, j] / others))
    found = nt_xent(torch.tensor(3 * a), torch.tensor(0.1 * b), temperature)
    assert found.item() == pytest.approx(np.mean(each), rel=1e-4)


@given(seed=st.integers(0, 1000), rows=st.integers(2, 12), subjects=st.integers(1, 12))
def test_info_nce_counts_every_pair_of_a_subject(seed: int, rows: int, subjects: int) -> None:
    a, b = draw(rows, 8, seed=seed), draw(rows, 8, seed=seed + 1)
    subject = np.random.default_rng(seed).integers(-1, subjects, rows)
    score = unit(a) @ unit(b).T / 0.1
    terms = []
    for i in range(rows):
        for j in range(rows):
            if i == j or subject[i] == subject[j] >= 0:
                terms.append(score[i, j] - np.log(np.exp(score[i]).sum()))  # first finds second
                terms.append(score[j, i] - np.log(np.exp(score[:, i]).sum()))  # and the reverse
    found = info_nce(torch.tensor(a), torch.tensor(b), torch.tensor(subject))
    # Scores of 10 in float32 are known to 1e-6, so a loss near nothing is, too.
    assert found.item() == pytest.approx(-np.mean(terms), rel=1e-4, abs=1e-6)


def test_unknown_subjects_are_nobodys_positives() -> None:
    a, b = torch.tensor(draw(5, 8)), torch.tensor(draw(5, 8, seed=1))
    nobody = info_nce(a, b, torch.full((5,), -1))
    assert nobody == info_nce(a, b, torch.arange(5))
    assert nobody != info_nce(a, b, torch.zeros(5, dtype=torch.int64))


def test_masked_mse() -> None:
    y, guess = draw(3, 2, 50), draw(3, 2, 50, seed=1)
    where = np.random.default_rng(0).random(y.shape) < 0.3
    found = masked_mse(torch.tensor(guess), torch.tensor(y), torch.tensor(where))
    assert found.item() == pytest.approx(((y - guess) ** 2)[where].mean(), rel=1e-5)
    nothing = torch.zeros(3, 2, 50, dtype=torch.bool)
    assert masked_mse(torch.tensor(guess), torch.tensor(y), nothing) == 0


RANKS = """
import sys, torch
from torch import distributed
from nerula.loss import diversity, frame_contrast, info_nce, mean_square, nt_xent

rank, world = int(sys.argv[1]), int(sys.argv[2])
if world > 1:
    distributed.init_process_group("gloo", f"file://{sys.argv[3]}", rank=rank, world_size=world)
torch.manual_seed(0)
x, y = torch.randn(2, 8, 6)
subject = torch.tensor([0, 1, 0, 2, 2, -1, -1, 0])
weight = torch.randn(6, 4, requires_grad=True)
mine = slice(rank * 8 // world, (rank + 1) * 8 // world)
a, b = x[mine] @ weight, y[mine] @ weight
loss = nt_xent(a, b) + info_nce(a, b, subject[mine])
frames = torch.randn(8, 5, 6)[mine] @ weight
label, negatives = torch.randint(3, (8, 5))[mine], torch.randint(5, (8, 5, 4))[mine]
where = torch.rand(8, 5)[mine] < 0.6
found = frame_contrast(frames, frames.roll(1, 2), label, negatives, where=where)
shares = frames.unflatten(2, (2, 2)).softmax(-1)
loss = loss + found + diversity(shares, where) + mean_square(frames, where)
loss.backward()
both = torch.cat([weight.grad.reshape(-1), loss.detach().view(1)])
if world > 1:
    distributed.all_reduce(both)
    distributed.destroy_process_group()
print(*(both / world).tolist())
"""


@pytest.mark.slow
def test_two_ranks_have_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    def run(rank: int, world: int) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", RANKS, str(rank), str(world), str(tmp_path / "meet")]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    started = [run(0, 1), run(0, 2), run(1, 2)]
    alone, first, second = (
        np.array([float(word) for word in process.communicate(timeout=120)[0].split()])
        for process in started
    )
    assert len(alone) == 25
    assert np.allclose(first, alone, atol=1e-5)
    assert np.array_equal(first, second)
