"""Patch masks and views: exact halves, random patches, and nothing but the generator."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from nerula.augment import augment, crop, flip_sign, flip_time, noise, patch_masks, time_warp


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def runs(mask: Tensor) -> Tensor:
    """Runs of ones in each row."""
    starts = torch.diff(mask.int(), dim=1, prepend=torch.zeros(len(mask), 1, dtype=torch.int))
    return (starts == 1).sum(1)


@given(seed=st.integers(0, 2**31), length=st.integers(128, 3000), batch=st.integers(1, 40))
def test_half_of_the_samples_in_15_to_30_patches(seed: int, length: int, batch: int) -> None:
    mask = patch_masks(batch, length, seeded(seed))
    assert mask.shape == (batch, length)
    assert mask.dtype == torch.bool
    assert (mask.sum(1) == length // 2).all()
    count = runs(mask)
    assert ((count >= 15) & (count <= 30)).all()
    other = ~mask
    assert (mask.int() + other.int() == 1).all()
    assert (other.sum(1) == length - length // 2).all()


@given(
    seed=st.integers(0, 2**31),
    length=st.integers(1, 200),
    fraction=st.floats(0, 1),
    low=st.integers(1, 20),
    more=st.integers(0, 20),
)
def test_any_fraction_and_count_even_where_they_hardly_fit(
    seed: int, length: int, fraction: float, low: int, more: int
) -> None:
    mask = patch_masks(20, length, seeded(seed), fraction=fraction, patches=(low, low + more))
    ones = math.floor(fraction * length + 1e-9)
    assert (mask.sum(1) == ones).all()
    fits = min(ones, length - ones + 1)
    count = runs(mask)
    assert (count >= min(low, fits)).all()
    assert (count <= min(low + more, fits)).all()


def test_numbers_lengths_and_positions_vary() -> None:
    mask = patch_masks(2000, 1000, seeded())
    count = runs(mask).numpy()
    frequency = np.bincount(count, minlength=31)[15:]
    # Uniform over sixteen counts: 125 each, standard deviation 11.
    assert frequency.min() > 70
    assert frequency.max() < 180
    # Every position is in half of the masks (standard deviation of the mean 0.011).
    share = mask.float().mean(0)
    assert (share - 0.5).abs().max() < 0.06
    lengths = np.concatenate(
        [
            np.diff(np.flatnonzero(np.diff(r, prepend=0, append=0)))[::2]
            for r in mask[:200].int().numpy()
        ]
    )
    assert lengths.min() == 1
    assert lengths.max() > 60
    assert len(np.unique(lengths)) > 50
    # Neighbouring patches of one mask are not alike, and masks are not shifts of each other.
    assert np.std(lengths) > 10
    assert len(torch.unique(mask, dim=0)) == len(mask)


def test_the_generator_is_the_only_source() -> None:
    first = patch_masks(8, 1000, seeded(3))
    torch.rand(5)
    assert torch.equal(first, patch_masks(8, 1000, seeded(3)))
    assert not torch.equal(first, patch_masks(8, 1000, seeded(4)))


def waves(batch: int = 4, length: int = 400) -> tuple[Tensor, Tensor]:
    moment = torch.linspace(0, 1, length)
    x = torch.stack([torch.sin((3 + i) * moment) + moment for i in range(batch)]).unsqueeze(1)
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, :, 100:120] = False
    return x, valid


def test_flips() -> None:
    x, valid = waves()
    assert torch.equal(flip_sign(x, seeded(), chance=1), -x)
    assert torch.equal(flip_sign(x, seeded(), chance=0), x)
    flipped, still = flip_time(x, valid, seeded(), chance=1)
    assert torch.equal(flipped, x.flip(-1))
    assert torch.equal(still, valid.flip(-1))
    some = flip_sign(x.repeat(50, 1, 1), seeded())
    share = (some == -x.repeat(50, 1, 1)).all(-1).float().mean()
    assert 0.35 < share < 0.65


def test_noise_is_measured_by_the_recording() -> None:
    x, valid = waves(64, 2000)
    loud = noise(10 * x, valid, seeded(1), level=0.1) - 10 * x
    soft = noise(x, valid, seeded(1), level=0.1) - x
    assert torch.allclose(loud, 10 * soft, atol=1e-4)
    relative = soft.std(-1) / torch.where(valid, x, torch.nan).nan_to_num(0).std(-1)
    assert relative.max() < 0.12
    assert relative.std() > 0.01  # by amounts that differ


@pytest.mark.parametrize("warp", [crop, time_warp])
def test_warps_read_between_samples_and_carry_the_gaps(warp: object) -> None:
    length = 400
    ramp = torch.arange(length, dtype=torch.float32).expand(8, 1, -1).contiguous()
    valid = torch.ones_like(ramp, dtype=torch.bool)
    valid[..., 150:200] = False
    hidden = torch.where(valid, ramp, torch.nan)
    read, seen = warp(hidden, valid, seeded())  # type: ignore[operator]
    assert torch.isfinite(read).all()
    kept = torch.where(seen, read, torch.nan)
    assert (torch.diff(kept, dim=-1).nan_to_num(1) >= 0).all()  # time does not run backwards
    inside = (kept > 150) & (kept < 199)
    assert not inside.any()
    assert not torch.allclose(read[0], read[1])


def test_crop_keeps_at_least_its_share_and_warp_keeps_the_ends() -> None:
    ramp = torch.linspace(0, 1, 500).expand(200, 1, -1).contiguous()
    valid = torch.ones_like(ramp, dtype=torch.bool)
    cut, _ = crop(ramp, valid, seeded(), least=0.5)
    covered = cut[..., -1] - cut[..., 0]
    assert covered.min() >= 0.5 - 1e-5
    assert covered.max() > 0.9
    warped, _ = time_warp(ramp, valid, seeded(), strength=0.2)
    assert torch.allclose(warped[..., 0], ramp[..., 0], atol=1e-6)
    assert torch.allclose(warped[..., -1], ramp[..., -1], atol=1e-6)
    speed = torch.diff(warped, dim=-1) * 499
    assert 0.6 < speed.min() < 0.95
    assert 1.05 < speed.max() < 1.5


def test_augmented_views_keep_shape_and_differ() -> None:
    x, valid = waves()
    generator = seeded()
    first, one = augment(x, valid, generator)
    second, two = augment(x, valid, generator)
    assert first.shape == x.shape == second.shape
    assert one.dtype == two.dtype == torch.bool
    assert not torch.allclose(first, second)
