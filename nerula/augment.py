"""Views of a batch: tensor to tensor for the whole batch at once, on its device.

Every function draws from the generator it is given and from nothing else. `x` is (B, L, T) and
`valid` has the same shape.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nerula.together import drawn, uniform


def patch_masks(
    batch: int,
    time: int,
    generator: torch.Generator,
    *,
    fraction: float = 0.5,
    patches: tuple[int, int] = (15, 30),
    device: torch.device | str = "cpu",
) -> Tensor:
    """Draw (batch, time) masks of runs of ones with random number, lengths and positions.

    Each mask has exactly `floor(fraction * time)` ones, in a number of runs drawn uniformly from
    `patches`, both ends included. The other view is `~mask`. Where a signal is too short for that
    many separate runs, as many as fit.

    Ones and zeros are each a stick broken at uniformly random places: every run gets one sample,
    and what is left is shared out by normalised exponentials. A mask begins and ends inside runs
    of ones as often as a mask without ends would be cut there, so every position is equally often
    visible.
    """
    ones = math.floor(fraction * time + 1e-9)
    zeros = time - ones
    most = min(patches[1], ones, zeros + 1)
    least = min(patches[0], most)
    if least < 1:
        return torch.full((batch, time), ones > 0, device=device)
    number = drawn(
        (batch, 1),
        generator,
        lambda whole: whole.long().random_(least, most + 1, generator=generator),
    )
    inside = uniform((batch, 1), generator) < ones / time
    outer = ~(inside & (number > 1))
    run = torch.arange(most, device=device)
    used = run < number
    lengths = _broken_stick(used, ones - number, generator) + used
    # A gap before each run and one after the last; the first and the last may be empty.
    inner = used & (run > 0)
    share = torch.cat([torch.where(run > 0, used, outer), outer], dim=1)
    gaps = _broken_stick(share, zeros - (number - 1), generator)
    gaps[:, :-1] += inner
    # Gap, run, gap, run, ..., last gap.
    pieces = torch.cat([torch.stack([gaps[:, :-1], lengths], dim=2).flatten(1), gaps[:, -1:]], 1)
    values = torch.arange(2 * most + 1, device=device).remainder(2).bool().expand(batch, -1)
    painted = values.flatten().repeat_interleave(pieces.flatten(), output_size=batch * time)
    return painted.view(batch, time)


def _broken_stick(used: Tensor, total: Tensor, generator: torch.Generator) -> Tensor:
    """Break each row's `total` into random whole parts >= 0, one for every place in `used`."""
    chance = uniform(used.shape, generator)
    cuts = (torch.log1p(-chance) * used).cumsum(1)  # exponentials, but for the sign
    edges = (cuts / cuts[:, -1:].clamp(max=-1e-9) * total).long()
    edges[:, -1:] = total
    return torch.diff(edges, dim=1, prepend=torch.zeros_like(total))


def flip_sign(x: Tensor, generator: torch.Generator, chance: float = 0.5) -> Tensor:
    """Flip over the time axis, as swapped electrodes do: each recording by chance."""
    return torch.where(_by_chance(x, generator, chance), -x, x)


def flip_time(
    x: Tensor, valid: Tensor, generator: torch.Generator, chance: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Run backwards: each recording by chance."""
    chosen = _by_chance(x, generator, chance)
    return torch.where(chosen, x.flip(-1), x), torch.where(chosen, valid.flip(-1), valid)


def noise(x: Tensor, valid: Tensor, generator: torch.Generator, level: float = 0.1) -> Tensor:
    """Add Gaussian noise of up to `level` times the recording's own standard deviation."""
    count = valid.sum((1, 2), keepdim=True).clamp(min=1)
    seen = torch.where(valid, x, 0.0)
    mean = seen.sum((1, 2), keepdim=True) / count
    size = torch.where(valid, x - mean, 0.0).square().sum((1, 2), keepdim=True).div(count).sqrt()
    amount = level * uniform((len(x), 1, 1), generator)
    white = drawn(x.shape, generator, lambda whole: whole.normal_(generator=generator))
    return x + amount * size * white


def crop(
    x: Tensor, valid: Tensor, generator: torch.Generator, least: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Cut out a random stretch of at least `least` of the length, and stretch it to the whole."""
    share, place = uniform((2 * len(x), 1), generator, views=2).chunk(2)
    share = least + (1 - least) * share
    steps = torch.linspace(0, 1, x.shape[-1], device=x.device)
    return _resampled(x, valid, place * (1 - share) + share * steps)


def time_warp(
    x: Tensor, valid: Tensor, generator: torch.Generator, strength: float = 0.2, knots: int = 4
) -> tuple[Tensor, Tensor]:
    """Let time run up to `strength` faster or slower, changing smoothly; the ends stay."""
    time = x.shape[-1]
    speed = 1 + strength * (2 * uniform((len(x), 1, knots + 2), generator) - 1)
    smooth = F.interpolate(speed, size=max(1, time - 1), mode="linear", align_corners=True)
    run = F.pad(smooth.squeeze(1).cumsum(1), (1, 0))[:, :time]
    return _resampled(x, valid, run / run[:, -1:].clamp(min=1e-6))


def augment(x: Tensor, valid: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """BYOL's views for ECG: crop, warp, flips over both axes, noise."""
    x, valid = crop(x, valid, generator)
    x, valid = time_warp(x, valid, generator)
    x, valid = flip_time(x, valid, generator)
    return noise(flip_sign(x, generator), valid, generator), valid


def _by_chance(x: Tensor, generator: torch.Generator, chance: float) -> Tensor:
    return uniform((len(x), 1, 1), generator) < chance


def _resampled(x: Tensor, valid: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
    """Read at positions (B, T) in [0, 1], between samples linearly; valid where both are."""
    place = position.clamp(0, 1) * (x.shape[-1] - 1)
    left = place.floor().long().unsqueeze(1).expand_as(x)
    right = (left + 1).clamp(max=x.shape[-1] - 1)
    share = (place - place.floor()).unsqueeze(1)
    seen = torch.where(valid, x, 0.0)
    read = seen.gather(-1, left) * (1 - share) + seen.gather(-1, right) * share
    return read, valid.gather(-1, left) & valid.gather(-1, right)


def spans(
    valid: Tensor, generator: torch.Generator, *, probability: float, length: int, views: int = 1
) -> Tensor:
    """Draw masks (B, T) of runs of `length`, which may overlap, where `valid` (B, T).

    As many runs as would hide `probability` of the places if none overlapped, the fraction of a
    run by chance, begin at different places (wav2vec 2.0, section 3.1).
    """
    batch, time = valid.shape
    length = min(length, time)
    places = time - length + 1
    noise = uniform((batch, places + 1), generator, views=views)
    count = (probability * time / length + noise[:, :1]).floor()
    begins = noise[:, 1:].argsort(1).argsort(1) < count
    hidden = F.max_pool1d(F.pad(begins.float(), (length - 1, length - 1)).unsqueeze(1), length, 1)
    return (hidden.squeeze(1) > 0) & valid


def fewer_leads(
    valid: Tensor, generator: torch.Generator, chance: float, *, views: int = 1
) -> Tensor:
    """Hide each lead of (B, L, T) by chance, never the last one that holds a sample."""
    held = valid.any(-1)
    noise = uniform(held.shape, generator, views=views)
    most = noise.masked_fill(~held, -1.0).argmax(1, keepdim=True)
    kept = (noise >= chance).scatter(1, most, True)
    return valid & kept.unsqueeze(-1)
