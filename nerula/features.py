"""Features: embeddings of a store's recordings for a task, computed once and kept.

One file per (model, store, way of cutting): an array with a row per recording of the store, NaN
where it has not been embedded yet, so that tasks on one store share what they need.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nerula import gaps, signal
from nerula.errors import UsageError
from nerula.files import replacing
from nerula.leads import Plan, planned
from nerula.store import Store
from nerula.tasks.task import View

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.summary import Advance
    from nerula.windowed import Prepared

PIECE = 5.0
"""Seconds of the pieces that recordings are cut into, where pieces are wanted."""
WINDOWS = 10
"""How many of them a recording gives where they lie at random places."""
KEPT_EVERY = 4096
"""Recordings after which what is computed is written down."""


@dataclass(frozen=True)
class Gap:
    """Missing signal: which share of each recording, and what is done about it."""

    share: float
    filling: str


class Cut(Protocol):
    """Which leads of a recording are embedded, and in which pieces; every `Task` says so."""

    @property
    def name(self) -> str:
        """What wants it so."""

    @property
    def leads(self) -> tuple[str, ...]:
        """Which signals of the data; where empty, the model's own."""

    @property
    def view(self) -> View:
        """The whole recording, each lead on its own, halves, or windows anywhere."""

    @property
    def overlap(self) -> float:
        """Share of a window that the next one repeats."""


@dataclass(frozen=True)
class Whole:
    """Recordings as `Model.embed` takes them."""

    name: str = "similar"
    leads: tuple[str, ...] = ()
    view: View = "whole"
    overlap: float = 0.0


def fingerprint(model: "Model") -> str:
    """Sixteen hexadecimal digits of a model's identity."""
    return _digest(model.identity)


@dataclass(frozen=True)
class Features:
    """The embeddings of one store by one model, as a task wants them."""

    model: "Model"
    store: Store
    task: Cut
    folder: Path
    """Where they are kept."""
    only: tuple[str, ...] = ()
    """Which leads the model is given, where not all that it can have."""

    def of(
        self,
        rows: NDArray[np.int64],
        gap: Gap | None = None,
        advance: "Advance | None" = None,
    ) -> NDArray[np.float32]:
        """(N, pieces * D): pieces are the task's leads, halves or windows, or the whole recording.

        `advance` is told how many are done, instead of a bar on the terminal.
        """
        path = self.folder / f"{self._key(gap)}.npy"
        held = self._held(path)
        missing = np.setdiff1d(rows, np.flatnonzero(~np.isnan(held[:, 0]))) if len(held) else rows
        if len(missing):
            held = self._add(held, np.unique(missing), gap, path, advance)
        return held[rows]

    def _held(self, path: Path) -> NDArray[np.float32]:
        """What is there already; nothing, where the file is damaged."""
        try:
            held: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return np.empty((0, 0), np.float32)
        sound = held.ndim == 2 and len(held) == len(self.store) and held.dtype == np.float32
        return held if sound else np.empty((0, 0), np.float32)

    def _add(
        self,
        held: NDArray[np.float32],
        rows: NDArray[np.int64],
        gap: Gap | None,
        path: Path,
        told: "Advance | None",
    ) -> NDArray[np.float32]:
        from nerula.summary import progress

        self.folder.mkdir(parents=True, exist_ok=True)
        shown = progress(len(rows), "embedding") if told is None else nullcontext(told)
        with shown as advance:
            for first in range(0, len(rows), KEPT_EVERY):
                part = rows[first : first + KEPT_EVERY]
                z = self.fresh(part, gap, advance)
                if not len(held):
                    held = np.full((len(self.store), z.shape[1]), np.nan, np.float32)
                held[part] = z
                with replacing(path) as file:
                    np.save(file, held, allow_pickle=False)
        return held

    def fresh(
        self, rows: NDArray[np.int64], gap: Gap | None, advance: "Advance"
    ) -> NDArray[np.float32]:
        """The same as `of`, computed and not kept."""
        windows = self.model.embed_prepared(self._pieces(rows, gap, advance), self.task.overlap)
        z = np.stack([one.mean() for one in windows]).reshape(len(rows), -1)
        if not np.isfinite(z).all():
            bad = rows[np.flatnonzero(~np.isfinite(z).all(1))[0]]
            raise UsageError(
                f"The embedding of {self._names[bad]} is not finite.",
                "The model is damaged, or the recording holds no valid sample.",
            )
        return z

    def pieces(
        self, rows: NDArray[np.int64], share: float = 1.0
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Embeddings of pieces of some seconds, at least two, of the first `share` of each row.

        (N, D), and the row (N,) of each; nothing is kept, and what holds nothing is left out.
        """
        cut: list[Prepared] = []
        whose: list[int] = []
        for row in rows:
            x, valid = self._prepared(int(row))
            time = round(share * x.shape[1])
            count = max(2, round(time / (PIECE * self.model.contract.rate)))
            for part in np.array_split(np.arange(time), count):
                seen = valid[:, part].any(axis=1)
                if seen.all() if self.apart else seen.any():
                    cut.append((x[:, part], valid[:, part]))
                    whose.append(int(row))
        signals = chain.from_iterable(map(_alone, cut) if self.apart else [cut])
        windows = self.model.embed_prepared(signals, self.task.overlap)
        z = np.stack([one.mean() for one in windows])
        return z.reshape(len(whose), -1), np.array(whose)

    def _pieces(
        self, rows: NDArray[np.int64], gap: Gap | None, advance: "Advance"
    ) -> "Iterator[Prepared]":
        """The signals to embed, one after the other: one or more per recording."""
        for row in rows:
            advance(1)
            x, valid = self._prepared(int(row))
            if gap is not None:
                name = self._names[row].rpartition("/")[2]
                hidden = gaps.bursts(x.shape[1], gap.share, self.model.contract.rate, name)
                x, valid = gaps.apply(x, valid, hidden, gap.filling)
            match "leads" if self.apart else self.task.view:
                case "leads":
                    yield from _alone((x, valid))
                case "halves":
                    yield from _halves(x, valid)
                case "votes":  # where a half holds nothing, the other has both
                    halves = _halves(x, valid)
                    yield from (
                        one if one[1].any() else other
                        for one, other in zip(halves, halves[::-1], strict=True)
                    )
                case "windows":
                    length = round(PIECE * self.model.contract.rate)
                    for start in _places(self._names[row], x.shape[1] - length):
                        part = slice(start, start + length)
                        yield x[:, part], valid[:, part]
                case _:
                    yield x, valid

    def _prepared(self, row: int) -> "Prepared":
        """A recording under the model's contract, with the leads that are to be embedded."""
        x, valid = (self.plan.of(one) for one in self.store.read(row))
        held, wanted = self.store.contract, self.model.contract
        if held.rate != wanted.rate or held.band != wanted.band:
            band = wanted.band if held.band is None else None
            x, valid = signal.condition(x, valid, held.rate, wanted.rate, band)
        return x, valid

    @cached_property
    def _names(self) -> NDArray[np.object_]:
        return self.store.column("name")

    @property
    def apart(self) -> bool:
        """Whether each lead is embedded by itself, and all are joined."""
        one = len(self.model.contract.leads) == 1 and len(self.only) > 1
        return self.task.view == "leads" or (one and self.task.view == "whole")

    @cached_property
    def plan(self) -> Plan:
        """Which of the store's leads go in, and where."""
        own = self.model.contract.leads
        if self.store.contract.band not in (None, self.model.contract.band):
            raise UsageError(
                f"{self.store.path} was filtered to {self.store.contract.band} Hz, which the "
                f"model does not expect ({self.model.contract.band or 'unfiltered'}).",
                "Prepare it again.",
            )
        alone = self.task.view == "leads"
        if len(own) > 1 and alone:
            raise UsageError(
                f"The task {self.task.name} wants a model of one lead, not {len(own)}."
            )
        if len(own) == 1 and len(self.only) > 1 and not self.apart:
            raise UsageError(
                f"The task {self.task.name} gives a model of one lead one, not {len(self.only)}."
            )
        wanted = self.task.leads if alone else self.only or self.task.leads
        return planned(self.store, own, wanted, any_leads=self.model.method.any_leads)

    @property
    def doubt(self) -> str:
        """What to think of leads that are hidden from a model; empty where training hid some."""
        if self.plan.places is None or self.model.method.any_leads:
            return ""
        return (
            f"the model was never trained to do without any of its {self.plan.count} leads, and "
            f"is given {', '.join(self.plan.names)}"
        )

    def _key(self, gap: Gap | None) -> str:
        facts = {
            "model": self.model.identity,
            "store": self.store.digest,
            "leads": [
                list(self.plan.rows),
                *([list(self.plan.places)] if self.plan.places else []),
            ],
            "view": "leads" if self.apart else self.task.view,
            "overlap": self.task.overlap,
            "gap": None if gap is None else [gap.share, gap.filling],
        }
        return _digest(facts)


def _alone(signal: "Prepared") -> "Iterator[Prepared]":
    """Each lead by itself."""
    x, valid = signal
    return ((x[[lead]], valid[[lead]]) for lead in range(len(x)))


def _halves(x: NDArray[np.float32], valid: NDArray[np.bool_]) -> "list[Prepared]":
    half = x.shape[1] // 2
    return [(x[:, :half], valid[:, :half]), (x[:, half:], valid[:, half:])]


def _places(name: str, last: int) -> NDArray[np.int64]:
    """Where the windows of a recording begin: the same every time."""
    seed = hashlib.blake2b(name.encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(seed, "little"))
    return rng.integers(0, max(0, last) + 1, WINDOWS)


def _digest(facts: dict[str, Any]) -> str:
    words = json.dumps(facts, sort_keys=True, default=str).encode()
    return hashlib.blake2b(words, digest_size=8).hexdigest()
