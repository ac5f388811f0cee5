"""Batches: which windows of a store make up step n. A pure function of the seed and the step.

So nothing about the order of the data has to be saved, and a run that is continued sees what it
would have seen.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerula.errors import UsageError
from nerula.method import Needs
from nerula.options import Options
from nerula.store import Store

SHARE_OF_MEMORY = 0.25
"""How much of an accelerator's free memory a store may take."""
ORDER, CROPS = 1, 2
"""Streams of random numbers, so that the order and the crops do not resemble each other."""


class Windows(NamedTuple):
    """One batch on its device: (B, S, L, T), (B, S, L, T) and (B,)."""

    x: Tensor
    valid: Tensor
    subject: Tensor


class Batches:
    """The batches of a training: every epoch takes each recording at most once, in new order."""

    def __init__(
        self,
        store: Store,
        needs: Needs,
        options: Options,
        device: torch.device,
        *,
        leads: Sequence[str] = (),
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.device, self.share, self.segments = device, share, needs.segments
        self.leads = tuple(leads) or store.contract.leads
        for lead in self.leads:
            if lead not in store.contract.leads:
                held = ", ".join(store.contract.leads)
                raise UsageError(f"The store has no lead {lead}.", f"It has {held}.")
        if len(self.leads) != needs.leads:
            raise UsageError(
                f"The method wants {needs.leads} leads, not {len(self.leads)} "
                f"({', '.join(self.leads)}).",
                "Choose with --leads.",
            )
        self._rows_of_leads = [store.contract.leads.index(lead) for lead in self.leads]
        self.window = round(options.window * store.contract.rate)
        self.batch, self.seed = options.batch, options.seed
        if self.window < 1 or self.batch < 1 or self.batch % share[1]:
            raise UsageError(
                f"A window of {self.window} samples, a batch of {self.batch} for {share[1]} ranks."
            )
        self._lengths = store.lengths
        self.index = np.flatnonzero(
            chosen_folds(store.column("fold"), options.folds)
            & (self._lengths > (needs.segments - 0.5) * self.window)
            & has_leads(store, self.leads)
        )
        self._subject = subject_numbers(store.column("subject"))
        self.per_epoch = len(self.index) // self.batch
        self.steps = options.epochs * self.per_epoch
        if not self.steps:
            raise UsageError(
                f"{len(self.index)} of {len(store)} recordings are in folds {options.folds}, have "
                f"the leads and fill {needs.segments} windows of {options.window:g} s at least by "
                f"half: nothing to train for {options.epochs} epochs in batches of {self.batch}.",
                "Choose a smaller --batch, a shorter --window or other --folds.",
            )
        self._gather = OnDevice(store, device) if fits(store, device) else FromStore(store, device)
        self._order = lru_cache(2)(self._shuffled)

    def at(self, step: int) -> Windows:
        """The batch of a step, this rank's share of it, on the device."""
        epoch, within = divmod(step, self.per_epoch)
        rows = self._order(epoch)[within * self.batch : (within + 1) * self.batch]
        room = np.maximum(self._lengths[rows] - self.segments * self.window, 0)
        drawn = np.random.default_rng((self.seed, CROPS, step)).random(len(rows))
        start = (drawn * (room + 1)).astype(np.int64)
        rank, ranks = self.share
        mine = slice(rank * self.batch // ranks, (rank + 1) * self.batch // ranks)
        return self.windows(rows[mine], start[mine])

    def windows(self, rows: NDArray[np.int64], start: NDArray[np.int64]) -> Windows:
        """Windows of the training's leads and segments."""
        x, valid = self._gather(rows, start, self.segments * self.window)
        subject = torch.from_numpy(self._subject[rows]).to(x.device)
        return Windows(self._cut(x), self._cut(valid), subject)

    def _cut(self, x: Tensor) -> Tensor:
        """(B, all leads, S T) to (B, S, L, T)."""
        if x.shape[1] != len(self.leads):
            x = x[:, self._rows_of_leads]
        segments = x.reshape(*x.shape[:-1], self.segments, self.window)
        return segments.transpose(1, 2).contiguous()

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(self.index)


def chosen_folds(fold: NDArray[np.object_], folds: str) -> NDArray[np.bool_]:
    """Which recordings to train on: those in `folds` ("1-8", "1,3", "all") and those without."""
    if folds == "all":
        return np.ones(len(fold), bool)
    names: set[str] = set()
    for part in folds.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UsageError(f"--folds {folds!r} is not understood.", "Write 1-8, 1,3 or all.")
        names |= {str(number) for number in range(int(first), int(last or first) + 1)}
    return np.array([name is None or name in names for name in fold], bool)


def has_leads(store: Store, leads: Sequence[str]) -> NDArray[np.bool_]:
    """Which recordings have all of these leads, at least in part."""
    if len(store.contract.leads) == 1:
        return np.ones(len(store), bool)
    return np.array([set(leads) <= set(held) for held in store.column("leads")], bool)


def subject_numbers(subject: NDArray[np.object_]) -> NDArray[np.int64]:
    """Number the subjects; -1 for nobody known."""
    numbers: dict[str, int] = {}
    return np.array(
        [-1 if one is None else numbers.setdefault(one, len(numbers)) for one in subject], np.int64
    )


def fits(store: Store, device: torch.device) -> bool:
    """Whether an accelerator has room for the whole store and for everything else."""
    if device.type != "cuda":
        return False
    signals, validity, _ = store.raw
    free, _ = torch.cuda.mem_get_info(device)
    return bool(signals.nbytes + validity.nbytes < SHARE_OF_MEMORY * free)


class FromStore:
    """Gathers on the CPU from the memory-mapped store, and sends the windows to the device."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device

    def __call__(
        self, index: NDArray[np.int64], start: NDArray[np.int64], length: int
    ) -> tuple[Tensor, Tensor]:
        """Gather."""
        x, valid = (torch.from_numpy(a) for a in self._store.windows(index, start, length))
        return x.to(self._device, non_blocking=True), valid.to(self._device, non_blocking=True)


class OnDevice:
    """Keeps the store's counts and validity bits on the device and gathers there.

    The samples stay two bytes wide and are converted per batch, to the same bits as `FromStore`.
    """

    def __init__(self, store: Store, device: torch.device) -> None:
        signals, validity, offset = store.raw
        self._signals = torch.from_numpy(np.array(signals)).to(device)
        self._validity = torch.from_numpy(np.array(validity)).to(device)
        self._offset = torch.from_numpy(np.array(offset)).to(device)
        self._length = torch.from_numpy(np.array(store.lengths)).to(device)
        self._lead = torch.arange(len(store.contract.leads), device=device)[None, :, None]
        self._scale = torch.tensor(store.contract.scale, dtype=torch.float32, device=device)

    def __call__(
        self, index: NDArray[np.int64], start: NDArray[np.int64], length: int
    ) -> tuple[Tensor, Tensor]:
        """Gather."""
        device = self._signals.device
        rows = torch.from_numpy(index).to(device, non_blocking=True)
        first = torch.from_numpy(start).to(device, non_blocking=True)
        lengths = self._length[rows][:, None, None]
        time = first[:, None, None] + torch.arange(length, device=device)
        inside = time < lengths
        sample = self._offset[rows][:, None, None] + self._lead * lengths + time
        sample = torch.where(inside, sample, 0)
        x = self._signals[sample].float() * self._scale * inside
        bit = (self._validity[sample >> 3] >> (sample & 7).to(torch.uint8)) & 1
        return x, bit.bool() & inside
