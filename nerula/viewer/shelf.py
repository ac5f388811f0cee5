"""Shelf: recordings that can be shown, from a store or a file, read a stretch at a time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.recording import Recording

Stretch = tuple[NDArray[np.float32], NDArray[np.bool_]]
_AT_ONCE = 1 << 19
"""Samples per lead that are looked at together, so that a day of ECG needs little memory."""


@dataclass(frozen=True, eq=False)
class Item:
    """One recording on the shelf. Nothing of its signal is read until it is asked for."""

    key: str
    name: str
    leads: tuple[str, ...]
    rate: float
    length: int
    """Samples per lead."""
    unit: str
    facts: Mapping[str, Any]
    """Subject, age, sex, labels, fold; what is not known is None."""
    stretch: Callable[[int, int], Stretch]
    """First sample and count to x and valid (leads, count)."""
    row: int | None = None
    """Its number in the store, where it is one of a store's."""
    findings: tuple[Finding, ...] = field(default=())
    """What its reader has said."""

    def recording(self, first: int = 0, last: int | None = None) -> Recording:
        """A stretch of it as a recording of its own."""
        last = self.length if last is None else min(last, self.length)
        x, valid = self.stretch(first, max(last - first, 0))
        return Recording(
            self.name, x, self.rate, self.leads, valid, self.unit, age=self.facts.get("age")
        )

    def sample(self, seconds: float) -> int:
        """The sample at a time, inside the recording."""
        return round(min(max(seconds * self.rate, 0.0), self.length))


@dataclass(frozen=True)
class Trace:
    """A stretch as a screen can show it: NaN where nothing was measured."""

    start: float
    spacing: float
    """Seconds from one value to the next."""
    y: NDArray[np.float32]
    """(leads, values)."""
    exact: bool
    """Whether each value is a sample; else they are least and greatest of every bucket in turn."""


def traced(
    item: Item, first: int, last: int, points: int, leads: tuple[int, ...] | None = None
) -> Trace:
    """Draw samples `first` to `last` of some or all leads with at most `points` buckets."""
    count = max(last - first, 0)
    rows = list(range(len(item.leads)) if leads is None else leads)
    if count <= 2 * points:
        x, valid = item.stretch(first, count)
        y = np.where(valid[rows], x[rows], np.float32(np.nan))
        return Trace(first / item.rate, 1 / item.rate, y, exact=True)
    size = math.ceil(count / points)
    together = max(_AT_ONCE // size, 1) * size
    parts = [
        _least_and_greatest(item.stretch(at, min(together, last - at)), rows, size)
        for at in range(first, last, together)
    ]
    spacing = size / 2 / item.rate
    return Trace(first / item.rate, spacing, np.concatenate(parts, axis=1), exact=False)


def _least_and_greatest(stretch: Stretch, rows: list[int], size: int) -> NDArray[np.float32]:
    """(leads, 2 * buckets), NaN where a bucket holds nothing that was measured."""
    short = ((0, 0), (0, -stretch[0].shape[1] % size))
    x, valid = np.pad(stretch[0][rows], short), np.pad(stretch[1][rows], short)
    shape = (len(rows), -1, size)
    known = valid.reshape(shape)
    y = np.empty((len(rows), known.shape[1], 2), np.float32)
    y[..., 0] = np.where(known, x.reshape(shape), np.inf).min(-1)
    y[..., 1] = np.where(known, x.reshape(shape), -np.inf).max(-1)
    y[~known.any(-1)] = np.nan
    return y.reshape(len(rows), -1)
