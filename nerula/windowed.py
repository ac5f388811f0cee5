"""Windowed: long signals cut into a model's windows, and windows put together again."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula import signal as signals

Array = NDArray[np.float32]
Prepared = tuple[Array, NDArray[np.bool_]]
"""A signal (leads, time) in mV, and its validity."""


class Embedded(NamedTuple):
    """The windows of one recording."""

    z: Array
    """(windows, D)."""
    weight: Array
    """(windows,) share of valid samples; 0 where a window holds none."""
    absent: tuple[str, ...] = ()
    """Leads of the model that the recording lacks, or that hold nothing valid."""

    def mean(self) -> Array:
        """The embedding of the recording: each window counts as much as it has valid samples."""
        mean: Array = (self.weight @ self.z / self.weight.sum()).astype(np.float32)
        return mean


def joined(each: Iterable[Embedded], count: int) -> Iterator[Embedded]:
    """Every `count` signals, the leads of one recording, side by side.

    A lead has its own mean over the windows, as if it were alone: each row is that of all.
    """
    following = iter(each)
    while parts := list(islice(following, count)):
        mean = np.concatenate([one.mean() for one in parts])
        weight = np.stack([one.weight for one in parts]).mean(axis=0)
        yield Embedded(np.tile(mean, (len(weight), 1)), weight)


def cut(x: Array, valid: NDArray[np.bool_], length: int, overlap: float) -> Prepared:
    """Windows (count, leads, length) of one recording."""
    time = x.shape[1]
    if not overlap or time <= length:
        return signals.windows(x, valid, length)[:2]
    starts = np.append(np.arange(0, time - length, round(length * (1 - overlap))), time - length)
    return (
        np.stack([x[:, start : start + length] for start in starts]),
        np.stack([valid[:, start : start + length] for start in starts]),
    )


def grouped(pairs: Iterable[Prepared], samples: int) -> Iterator[list[Prepared]]:
    """Gather recordings until they hold so many samples; a long one may be a group of its own."""
    group: list[Prepared] = []
    held = 0
    for pair in pairs:
        group.append(pair)
        held += pair[0].shape[1]
        if held >= samples:
            yield group
            group, held = [], 0
    if group:
        yield group


def blended(windows: Array, starts: NDArray[np.int64], time: int) -> Array:
    """One signal (leads, time) from windows (count, leads, length) that overlap.

    Where two windows give the same sample, the one that has it nearer its middle counts more.
    """
    length = windows.shape[-1]
    weight = 1 - np.abs((np.arange(length) + 0.5) / (length / 2) - 1)
    total, share = np.zeros((2, windows.shape[1], max(time, int(starts[-1]) + length)))
    for start, window in zip(starts, windows, strict=True):
        total[:, start : start + length] += weight * window
        share[:, start : start + length] += weight
    found: Array = (total[:, :time] / np.maximum(share[:, :time], 1e-9)).astype(np.float32)
    return found


def lead_rows(x: Array, known: Sequence[str], leads: Sequence[str], time: int) -> Array:
    """The rows (known, any time) of `leads`, cut or held to a length; NaN where not known."""
    x = np.pad(x[:, :time], ((0, 0), (0, max(0, time - x.shape[1]))), "edge")
    rows = np.full((len(leads), time), np.nan, np.float32)
    for row, lead in enumerate(leads):
        if lead in known:
            rows[row] = x[known.index(lead)]
    return rows
