"""Batches: which windows of a store make up step n. A pure function of the seed and the step.

So nothing about the order of the data has to be saved, and a run that is continued sees what it
would have seen.
"""

import mmap
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nerula.errors import UsageError
from nerula.leads import Plan, has_leads, held_leads
from nerula.method import Needs
from nerula.options import Options
from nerula.store import Store

SHARE_OF_MEMORY = 0.25
"""How much of an accelerator's free memory a store may take."""
ORDER, CROPS, LEADS = 1, 2, 3
"""Streams of random numbers, so that order, crops and leads do not resemble each other."""
ANY = ("any",)
"""Instead of a lead's name: one of those that a recording has."""


class Windows(NamedTuple):
    """One batch on its device: (B, S, L, T), (B, S, L, T) and (B,); labels (B, ...) if any."""

    x: Tensor
    valid: Tensor
    subject: Tensor
    labels: Tensor | None = None


class Labelled(NamedTuple):
    """Which rows of a store to learn from, and what: all other rows are never touched."""

    rows: NDArray[np.int64]
    labels: NDArray[np.float32] | NDArray[np.int64]
    """One entry for each of the rows."""


class Batches:
    """The batches of a training: every epoch takes each recording at most once, in new order."""

    def __init__(
        self,
        store: Store,
        needs: Needs,
        options: Options,
        device: torch.device,
        *,
        leads: Sequence[str] | Plan = (),
        share: tuple[int, int] = (0, 1),
        labelled: Labelled | None = None,
    ) -> None:
        self.device, self.share, self.segments = device, share, needs.segments
        self.any_lead = leads == ANY
        """Whether each window is of one of the leads that a recording has."""
        self._held = held_leads(store) if self.any_lead else None
        if self.any_lead:
            leads = home(store.contract.leads)
        self._plan = leads if isinstance(leads, Plan) else self._planned(store, leads)
        self.leads = self._plan.names
        if needs.labels and labelled is None:
            raise UsageError(
                "This method learns from labels, and a store by itself does not say which.",
                "In Python: nerula.finetune.finetune(method, store, rows, targets, kind).",
            )
        if self._plan.count != needs.leads:
            raise UsageError(
                f"The method wants {needs.leads} leads, not {len(self.leads)} "
                f"({', '.join(self.leads)}).",
                "Choose with --leads.",
            )
        self.window = round(options.window * store.contract.rate / needs.segments)
        self.batch, self.seed = options.batch, options.seed
        if self.window < 1 or self.batch < 1 or self.batch % share[1]:
            raise UsageError(
                f"A window of {self.window} samples, a batch of {self.batch} for {share[1]} ranks."
            )
        self._lengths = store.lengths
        self.lacking = 0
        """Recordings of the folds that are left out because they lack a lead."""
        self._labels = None if labelled is None else self._by_row(labelled, len(store))
        self.index = labelled.rows if labelled else self._fitting(store, options.folds)
        self._subject = subject_numbers(store.column("subject"))
        self.per_epoch = len(self.index) // self.batch
        self.steps = options.epochs * self.per_epoch
        if options.epochs and not self.steps:
            each = f"{needs.segments} windows of {options.window / needs.segments:g} s"
            raise UsageError(
                f"{len(self.index)} of {len(store)} recordings are in folds {options.folds}, have "
                f"the leads and fill {each} at least by half: "
                f"nothing to train for {options.epochs} epochs in batches of {self.batch}.",
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
        lead = self._drawn(rows, step)
        return self.windows(rows[mine], start[mine], None if lead is None else lead[mine])

    def windows(
        self,
        rows: NDArray[np.int64],
        start: NDArray[np.int64],
        lead: NDArray[np.int64] | None = None,
    ) -> Windows:
        """Windows of the training's leads and segments, or of one of the store's for each row."""
        x, valid = self._gather(rows, start, self.segments * self.window)
        if lead is None:
            x, valid = (self._planned_leads(one) for one in (x, valid))
        else:
            each = torch.arange(len(rows)).to(x.device), torch.from_numpy(lead).to(x.device)
            x, valid = (one[each].unsqueeze(1) for one in (x, valid))
        subject = torch.from_numpy(self._subject[rows]).to(x.device)
        labels = None if self._labels is None else self._labels[torch.from_numpy(rows)]
        if labels is not None:
            labels = labels.to(x.device, non_blocking=True)
        return Windows(self._cut(x), self._cut(valid), subject, labels)

    def _drawn(self, rows: NDArray[np.int64], step: int) -> NDArray[np.int64] | None:
        """One of the leads that each recording has, where any may be seen."""
        if self._held is None:
            return None
        chance = np.random.default_rng((self.seed, LEADS, step)).random(len(rows))
        held = self._held[rows]
        number = (chance * held.sum(1)).astype(np.int64)
        there = (~held).argsort(axis=1, kind="stable")  # first those that it has, in their order
        return np.take_along_axis(there, number[:, None], 1)[:, 0]

    @staticmethod
    def _planned(store: Store, leads: Sequence[str]) -> Plan:
        """The named leads of the store, or all of them, in the order in which they are named."""
        held = store.contract.leads
        names = tuple(leads) or held
        for lead in names:
            if lead not in held:
                raise UsageError(f"The store has no lead {lead}.", f"It has {', '.join(held)}.")
        return Plan(names, tuple(held.index(lead) for lead in names), None, len(names))

    @staticmethod
    def _by_row(labelled: Labelled, count: int) -> Tensor:
        """Labels for every row of the store; of those not labelled, zeros that nobody reads."""
        labels = torch.from_numpy(np.asarray(labelled.labels))
        return labels.new_zeros(count, *labels.shape[1:]).index_copy(
            0, torch.from_numpy(labelled.rows), labels
        )

    def _fitting(self, store: Store, folds: str) -> NDArray[np.int64]:
        """Rows of the folds that have the leads and fill the segments at least by half."""
        asked = chosen_folds(store.column("fold"), folds)
        asked &= self._lengths > (self.segments - 0.5) * self.window
        complete = has_leads(store, self.leads) if self._held is None else self._held.any(1)
        self.lacking = int((asked & ~complete).sum())
        return np.flatnonzero(asked & complete)

    def _planned_leads(self, x: Tensor) -> Tensor:
        """(B, all leads, S T) to the leads of the training."""
        if self._plan.rows == tuple(range(x.shape[1])) and self._plan.places is None:
            return x
        taken: Tensor = self._plan.of(x, axis=1)
        return taken

    def _cut(self, x: Tensor) -> Tensor:
        """(B, L, S T) to (B, S, L, T)."""
        segments = x.reshape(*x.shape[:-1], self.segments, self.window)
        return segments.transpose(1, 2).contiguous()

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(self.index)


def chosen_folds(fold: NDArray[np.object_], folds: str) -> NDArray[np.bool_]:
    """Which recordings to train on: those in `folds` and those without.

    Folds are "all", or numbers and names: "1-8", "1,3", "cpsc_2018,ptb-xl".
    """
    if folds == "all":
        return np.ones(len(fold), bool)
    held = sorted({name for name in fold if name is not None}, key=lambda name: (len(name), name))
    names: set[str] = set()
    for part in map(str.strip, folds.split(",")):
        if numbers := re.fullmatch(r"(\d+)(?:-(\d+))?", part):
            first, last = numbers[1], numbers[2] or numbers[1]
            names |= {str(number) for number in range(int(first), int(last) + 1)}
        elif part in held:
            names.add(part)
        else:
            there = f" The store has {', '.join(held)}." if held else ""
            raise UsageError(
                f"--folds {folds!r} is not understood: there is no fold {part!r}.{there}",
                "Write 1-8, 1,3, names with commas, or all.",
            )
    if held and not names & set(held) and not (fold == None).any():  # noqa: E711
        raise UsageError(
            f"None of the recordings is in folds {folds}: the store has {', '.join(held)}.",
            f"Name those to train on, such as --folds {','.join(held[:2])}.",
        )
    return np.array([name is None or name in names for name in fold], bool)


def home(leads: Sequence[str]) -> tuple[str]:
    """The lead that a model of any lead is named after, and watched by in training."""
    return ("II",) if "II" in leads else (leads[0],)


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


def fits_in_memory(store: Store) -> bool:
    """Whether the system can hold the whole store in half of this machine's memory."""
    signals, validity, _ = store.raw
    if not hasattr(os, "sysconf"):
        return True
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return signals.nbytes + validity.nbytes < memory / 2


class FromStore:
    """Gathers on the CPU from the memory-mapped store, and sends the windows to the device."""

    def __init__(self, store: Store, device: torch.device) -> None:
        self._store, self._device = store, device
        if not fits_in_memory(store) and (scattered := getattr(mmap, "MADV_RANDOM", None)):
            # Else the system reads megabytes around every window, which are gone before their turn
            store.advise(scattered)

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
