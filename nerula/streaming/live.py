"""Live: a stream of samples in, an embedding of every window out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nerula import quality
from nerula.errors import DefectError, UsageError, refuse
from nerula.given import POSSIBLE
from nerula.readers.doubts import heights
from nerula.readers.names import canonical_lead, millivolts_per
from nerula.recording import Recording
from nerula.streaming.ring import Ring

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.portable import Probe

AT_ONCE = 32
"""Windows that are embedded together where many are due."""
CHUNK = 1 << 16
"""Samples of a push that are taken at a time."""
JUMP = 3600.0
"""Seconds; a longer jump ahead is a clock that was set, not a gap."""
DOUBTFUL = 3
"""Windows in a row, the first ones, that must be beyond it for a stream to be refused."""
Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Emitted:
    """What there is to say of one window."""

    start: float
    """Seconds, by the number of its first sample."""
    end: float
    valid: float
    """Share of its samples that were measured and are no fault of the electrode."""
    quality: float
    """`nerula.quality.index` of it, as the model sees it: 0 to 1."""
    embedding: Array | None
    """None where nothing in it is valid."""
    probabilities: dict[str, float] | None = None


@dataclass(slots=True)
class Counts:
    """What became of the samples so far."""

    samples: int = 0
    """Received, in time or not."""
    repeated: int = 0
    """Of numbers that were there already; the first ones count."""
    late: int = 0
    """Of windows that were over."""
    missing: int = 0
    """Between the first and the newest, and never came."""
    restarts: int = 0
    """Times that the count began anew."""
    windows: int = 0


@dataclass(frozen=True, slots=True)
class _Due:
    """A window that is over."""

    start: int
    x: Array


@dataclass
class Stream:
    """Samples in by `push`, an `Emitted` for every window that they complete.

    Window k is the samples from `round(k * every * rate)` on, `floor(window * rate)` of them,
    counted from the first that came. Its result is that of `Model.embed` on exactly these samples.

    >>> import nerula
    >>> from nerula.stream import Stream
    >>> x, rate = nerula.ecg()
    >>> stream = Stream(nerula.load("nerula-small"), rate, every=5)
    >>> [one.end for part in (x, x, x) for one in stream.push(part)]
    [10.24, 15.24, 20.24, 25.24]
    """

    model: "Model"
    rate: float
    every: float | None = None
    """Seconds from one window to the next; by default they follow each other."""
    window: float | None = None
    """Seconds; by default the model's."""
    leads: Sequence[str] = ()
    """Names of the rows that are pushed; by default the model's."""
    lead: str | None = None
    """Which of several leads to give a model of one."""
    unit: str = "mV"
    probe: "Probe | None" = None
    patience: float = 0.0
    """Seconds that a window waits, by the newest sample's number, for samples out of order."""
    counts: Counts = field(default_factory=Counts, init=False)

    def __post_init__(self) -> None:
        seconds = self.model.seconds if self.window is None else self.window
        self.every = seconds if self.every is None else self.every
        if not 1 <= self.rate <= 100_000:
            raise refuse("rate-absurd", detail=f"{self.rate!r} Hz")
        if not (1 <= seconds <= JUMP and 0 <= self.patience <= JUMP):
            raise UsageError(f"A window takes 1 to {JUMP:g} s, and waits for as long at most.")
        if not 0.1 <= self.every <= JUMP:
            raise UsageError(f"A window begins every 0.1 to {JUMP:g} s, not every {self.every:g}.")
        if (scale := millivolts_per(self.unit)) is None:
            raise refuse("unit-unknown", detail=self.unit)
        if self.probe is not None:
            self.probe.require(self.model)
        self._scale = np.float32(scale)
        self._length = int(seconds * self.rate + 1e-6)
        self._patience = round(self.patience * self.rate)
        self._rows, self._names = _chosen(tuple(self.leads), self.lead, self.model.contract.leads)
        step = round(self.every * self.rate)
        kept = self._length + self._patience + max(step, self._length) + CHUNK
        self._ring = Ring(len(self._rows), kept)
        self._origin: int | None = None
        self._number = 0
        """Of the next window, since the origin."""
        self._following = 0
        self._stale = 0
        """Samples in a row that were late."""
        self._doubts: int | None = 0

    def push(self, samples: ArrayLike, at: int | None = None) -> list[Emitted]:
        """Take samples (time,) or (leads, time), NaN where there is none.

        `at` is the number of the first of them; by default they follow those that came last.
        Packets may come late, twice, out of order or not at all.
        """
        x = np.atleast_2d(np.asarray(samples, np.float32))
        wanted = max(len(self.leads), 1) if self.leads else len(self._rows)
        if x.ndim != 2 or len(x) != wanted:
            raise UsageError(f"Samples of shape {x.shape}; {wanted} leads were announced.")
        x = x[self._rows] * self._scale
        x[~np.isfinite(x)] = np.nan
        first = self._following if at is None else int(at)
        self._following = first + x.shape[1]
        return list(self._results(self._due(x, first)))

    def close(self) -> list[Emitted]:
        """Emit what waits, and a last, shorter window of at least a second that is left."""
        return list(self._results(self._rest()))

    def _due(self, x: Array, first: int) -> Iterator[_Due]:
        """Place samples piece by piece, and yield the windows that are then over."""
        for start in range(0, x.shape[1], CHUNK):
            piece = x[:, start : start + CHUNK]
            self.counts.samples += piece.shape[1]
            yield from self._place(piece, first + start)
            yield from self._over()

    def _place(self, x: Array, at: int) -> Iterator[_Due]:
        ring, end = self._ring, at + x.shape[1]
        if self._origin is None:
            self._begin(at)
        elif at > ring.head + JUMP * self.rate:
            yield from self._restarted(at)
        elif at < ring.base:
            if not self._number and end >= ring.head - self._patience:
                self._origin = at  # the very first packets, out of order
                self.counts.missing += ring.base - at
                ring.lower(at)
            elif end <= ring.base:
                self._stale += x.shape[1]
                self.counts.late += x.shape[1]
                if self._stale > self._length:  # a count that began anew
                    self.counts.late -= x.shape[1]
                    yield from self._restarted(at)
                else:
                    return
            else:
                self.counts.late += ring.base - at
                x, at = x[:, ring.base - at :], ring.base
        self._stale = 0
        while end > ring.base + ring.length:  # a gap: windows of nothing, until there is room
            self._skip(min(ring.base + ring.length, at))
            yield from self._over()
        self._skip(at)
        before = ring.head
        new, taken = ring.write(at, x)
        self.counts.missing -= new - (ring.head - before)
        self.counts.repeated += taken

    def _skip(self, head: int) -> None:
        """What lies between the newest sample and this one is missing, until it comes."""
        if head > self._ring.head:
            self.counts.missing += head - self._ring.head
            self._ring.skip(head)

    def _begin(self, at: int) -> None:
        self._origin, self._number, self._stale = at, 0, 0
        self._ring.restart(at)

    def _restarted(self, at: int) -> Iterator[_Due]:
        yield from self._rest()
        self.counts.restarts += 1
        self._begin(at)

    def _start(self) -> int:
        """The first sample of the next window."""
        assert self._origin is not None and self.every is not None  # noqa: S101
        return self._origin + round(self._number * self.every * self.rate)

    def _over(self, patience: int | None = None) -> Iterator[_Due]:
        """Windows whose end has been out of doubt for long enough."""
        ring = self._ring
        waiting = self._patience if patience is None else patience
        while self._origin is not None and ring.head >= self._start() + self._length + waiting:
            start = self._start()
            x = ring.read(start, start + self._length)
            self._number += 1
            ring.forget(min(self._start(), ring.head))
            yield _Due(start, x)

    def _rest(self) -> Iterator[_Due]:
        yield from self._over(patience=0)
        if self._origin is None:
            return
        start, head = self._start(), self._ring.head
        step = round((self.every or 0) * self.rate)
        covered = self._number and head <= start - step + self._length
        if head - start >= self.rate and not covered:
            yield _Due(start, self._ring.read(start, head))
        self._origin = None

    # --- results -----------------------------------------------------------------------------

    def _results(self, due: Iterator[_Due]) -> Iterator[Emitted]:
        """Embed windows, as many at once as are due."""
        group: list[_Due] = []
        for one in due:
            group.append(one)
            if len(group) == AT_ONCE:
                yield from self._emitted(group)
                group = []
        if group:
            yield from self._emitted(group)

    def _emitted(self, group: Sequence[_Due]) -> Iterator[Emitted]:
        prepared = [self._prepared(one) for one in group]
        pairs = [(one.x, one.valid) for one in prepared if one is not None]
        embedded = self.model.embed_prepared(pairs)
        for due, one in zip(group, prepared, strict=True):
            start, end = due.start / self.rate, (due.start + due.x.shape[1]) / self.rate
            self.counts.windows += 1
            if one is None:
                yield Emitted(start, end, 0.0, 0.0, None)
                continue
            z = next(embedded).mean()
            score = quality.index(one.x, one.valid, one.rate)
            share = float(one.valid.any(axis=0).mean())
            yield Emitted(start, end, share, score, z, self._probed(z))

    def _prepared(self, due: _Due) -> Recording | None:
        """A window under the model's contract; None where nothing of it is valid."""
        valid = ~np.isnan(due.x)
        x = np.where(valid, due.x, np.float32(0))
        try:
            one = self.model.prepare(Recording("stream", x, self.rate, self._names, valid))
        except DefectError as error:
            if error.finding.code != "signal-all-invalid":
                raise
            return None
        self._doubt(one)
        return one

    def _doubt(self, one: Recording) -> None:
        """Refuse a stream whose first windows cannot be millivolts of a heart."""
        if self._doubts is None:
            return
        measured = one.x[:, one.valid.all(axis=0)]
        if measured.shape[1] < one.rate:
            return
        height = float(np.median(heights(measured, one.rate)))
        if height <= POSSIBLE:
            self._doubts = None
            return
        self._doubts += 1
        if self._doubts == DOUBTFUL:
            detail = f"a typical second spans {height:.3g} mV if the samples are in {self.unit}"
            raise refuse("amplitude-absurd", detail=detail)

    def _probed(self, z: Array) -> dict[str, float] | None:
        if self.probe is None:
            return None
        if not self.probe.classes:
            return {self.probe.answers[0]: float(self.probe.values(z))}
        shares = self.probe.probabilities(z)
        return dict(zip(self.probe.classes, map(float, shares), strict=True))


def _chosen(
    leads: tuple[str, ...], lead: str | None, own: tuple[str, ...]
) -> tuple[list[int], tuple[str, ...]]:
    """Which rows the model needs, and what they are called for it."""
    named = tuple(canonical_lead(name) or name for name in leads) or own
    if len(own) > 1:
        rows = [row for row, name in enumerate(named) if name in own]
        if not rows:
            raise refuse("lead-missing", detail=f"the stream has {', '.join(named)}")
        return rows, tuple(named[row] for row in rows)
    wanted = (canonical_lead(lead) or lead) if lead else named[0] if len(named) == 1 else own[0]
    if wanted not in named:
        raise UsageError(
            f"The stream has {', '.join(named)}; the model wants {wanted}.",
            "Say with --lead which of them it gets.",
        )
    return [named.index(wanted)], own


def as_json(one: Emitted, *, embedding: bool = True, probed: bool = False) -> str:
    """One line: numbers with as many digits as they have; null where nothing was valid."""
    import json

    facts: dict[str, Any] = {
        "start": round(one.start, 6),
        "end": round(one.end, 6),
        "valid": round(one.valid, 4),
        "quality": round(one.quality, 4),
    }
    if probed:
        shares = one.probabilities
        facts["probabilities"] = shares and {k: round(v, 6) for k, v in shares.items()}
    line = json.dumps(facts)
    if not embedding:
        return line
    if one.embedding is None:
        return f'{line[:-1]}, "embedding": null}}'
    values = ", ".join(map("{:.7g}".format, one.embedding.tolist()))
    return f'{line[:-1]}, "embedding": [{values}]}}'
