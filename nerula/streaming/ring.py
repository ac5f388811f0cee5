"""Ring: the samples that the next windows need, by their numbers."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Ring:
    """Samples `base` to `head` of some leads, NaN where none has come; memory does not grow.

    Samples lie in one array that is twice as long as what must be kept: moving them to its start
    once it is full costs one copy of each.
    """

    def __init__(self, leads: int, length: int) -> None:
        self._held = np.full((leads, 2 * length), np.nan, np.float32)
        self.length = length
        self.base = self.head = 0
        self._first = 0
        """Where in the array sample `base` is."""

    def restart(self, base: int) -> None:
        """Forget everything; the first sample will be this one."""
        self._held.fill(np.nan)
        self.base = self.head = base
        self._first = 0

    def forget(self, base: int) -> None:
        """Drop samples before `base`, which is not beyond `head`."""
        self._first += base - self.base
        self.base = base

    def lower(self, base: int) -> None:
        """Make room for samples before those that came first."""
        kept = self.read(self.base, self.head)
        head, old = self.head, self.base
        self.restart(base)
        self.write(old, kept)
        self.head = head

    def write(self, at: int, samples: Array) -> tuple[int, int]:
        """Put samples (leads, n) at `at`, which lies in the ring with them.

        What is there already stays. Returns how many places were new, and how many were taken.
        """
        end = at + samples.shape[1]
        if end - self.base > self.length:
            raise ValueError(f"{end - self.base} samples in a ring of {self.length}")
        self._room(end)
        start = self._first + at - self.base
        places = self._held[:, start : start + samples.shape[1]]
        if at >= self.head:
            places[:] = samples
            new = samples.shape[1]
        else:
            free = np.isnan(places).all(axis=0)
            places[:, free] = samples[:, free]
            new = int(free.sum())
        self.head = max(self.head, end)
        return new, samples.shape[1] - new

    def skip(self, head: int) -> None:
        """Go on to `head`: what lies between did not come."""
        self._room(head)
        self.head = head

    def read(self, start: int, end: int) -> Array:
        """A copy of samples `start` to `end`."""
        first = self._first + start - self.base
        return self._held[:, first : first + end - start].copy()

    def _room(self, end: int) -> None:
        """Move what is kept to the start of the array where its end is too near."""
        if self._first + end - self.base <= self._held.shape[1]:
            return
        count = self.head - self.base
        self._held[:, :count] = self._held[:, self._first : self._first + count].copy()
        self._held[:, count:] = np.nan
        self._first = 0
