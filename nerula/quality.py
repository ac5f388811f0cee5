"""What is wrong with a signal itself: `inspect` says it, `mark` makes bad stretches invalid."""

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.einthoven import departure, may_depart
from nerula.faults import Fault, Mask, Seconds, Signal, find, seconds
from nerula.recording import Recording

OLDEST = 120
"""Years; the oldest age that anyone's papers prove is 122."""
STRETCH = 1.5
"""Seconds of which `index` asks whether a beat stands out: a heart of 40 beats has one in each."""
HIDDEN, CLEAR = 5.0, 25.0
"""Steepest over typical change within 10 ms: 4 in white noise, 10 to 90 where there are beats."""
_LAG, _FINEST = 0.01, 0.001  # s, mV: less than converters resolve
_INVALID = {
    "signal-nan",
    "signal-gap",
    "time-gap",
    "lead-off",
}  # how readers say that samples are missing


class Quality(NamedTuple):
    """How far a recording can be trusted."""

    score: float
    """From 0 to 1, see `index`."""
    findings: tuple[Finding, ...]
    """What is wrong, each with its code, lead, meaning and remedy."""
    valid: NDArray[np.bool_]
    """What is believed, of the signal's shape."""

    def __repr__(self) -> str:
        codes = ", ".join(sorted({one.code for one in self.findings})) or "nothing found"
        return f"Quality({self.score:.2f}: {codes}; {100 * self.valid.mean():.3g} % valid)"


def inspect(recording: Recording) -> list[Finding]:
    """Return what is wrong with a recording that its reader has not said already."""
    return _examine(recording)[0]


def mark(recording: Recording) -> Recording:
    """Return the recording with flat, clipped and non-finite stretches invalid, and findings."""
    return _marked(recording, *_examine(recording))


@np.errstate(over="ignore", invalid="ignore")
def index(x: NDArray[Any], valid: NDArray[np.bool_], rate: float) -> float:
    """How good a signal is, from 0 to 1: how much of it was measured, and how clear its beats are.

    `x` is (time,) or (leads, time) in mV, `valid` of the same shape. Each stretch of 1.5 s counts
    by its share of measured samples times its clarity: how far its steepest change stands out over
    its typical one, from 0 (as in noise) to 1; the index is their mean over stretches and leads.
    It costs some 50 µs for 10 s at 100 Hz, and it is no statement about the heart.

    >>> import nerula, numpy as np
    >>> x, rate = nerula.ecg()
    >>> round(index(x, np.isfinite(x), rate), 2)
    1.0
    >>> noise = np.random.default_rng(0).normal(size=1000)
    >>> index(noise, noise < 9, 100) < 0.05
    True
    """
    lag, length = max(round(_LAG * rate), 1), max(round(STRETCH * rate), 2)
    change = np.abs(x[..., lag:] - x[..., :-lag])
    known = valid[..., lag:] & valid[..., :-lag] & np.isfinite(change)
    time = change.shape[-1]
    if not time or not known.any():
        return 0.0
    length = min(length, time)
    cut = (*change.shape[:-1], time // length, length)
    change, known = (one[..., : cut[-2] * length].reshape(cut) for one in (change, known))
    count = known.sum(-1, keepdims=True)
    change = np.sort(np.where(known, change, np.inf), axis=-1)
    top, typical = (
        np.take_along_axis(change, np.maximum(place, 0), -1)
        for place in (count - 1, (count - 1) // 2)
    )
    clarity = np.log(np.maximum(top, _FINEST) / np.maximum(typical, _FINEST) / HIDDEN)
    clarity = np.clip(np.where(count > 0, clarity, 0) / np.log(CLEAR / HIDDEN), 0, 1)
    return float((clarity * count / length).mean())


@np.errstate(over="ignore", invalid="ignore")  # absurd and infinite values are findings as well
def mark_alike(recordings: Sequence[Recording], x: Signal) -> list[Recording]:
    """`mark` for one recording, or for several of one rate, unit and shape, valid throughout.

    `x` are the rows of all of them.

    The leads of all of them are looked at together: of short signals, NumPy's calls take longer
    than what they do.
    """
    first = recordings[0]
    if len(recordings) == 1:
        return [mark(first)]
    every = seconds(x, first.rate)
    if first.unit != "mV" or not np.isfinite(every.span).all():
        return [mark(recording) for recording in recordings]
    doubted = _may_contradict(x.reshape(len(recordings), *first.x.shape), first)
    faults: list[list[Fault]] = [[] for _ in recordings]
    for fault in find(x, first.rate, every):
        number, row = divmod(fault.row, len(first.leads))
        faults[number].append(fault._replace(row=row))
    return [
        _marked(recording, *_judged(recording, found, whole=True, doubted=leads))
        for recording, found, leads in zip(recordings, faults, doubted.tolist(), strict=True)
    ]


def stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Put the rows of arrays below each other."""
    return rows[0] if len(rows) == 1 else np.concatenate(rows)


def _marked(recording: Recording, findings: list[Finding], bad: Mask | None) -> Recording:
    if bad is None:
        if not findings:
            return recording
        return recording.but(findings=(*recording.findings, *findings))
    finite = np.isfinite(recording.x)
    return recording.but(
        x=recording.x if finite.all() else np.where(finite, recording.x, np.float32(0)),
        valid=recording.valid & ~bad,
        findings=(*recording.findings, *findings),
    )


def digest(recording: Recording) -> str:
    """Return what identifies a signal, whatever its format, gain, lead order or name.

    Equal for equal samples, to 1 µV, of one lead: lead II where it moves, or else the first that
    does by name. Empty where none does.
    """
    for row in sorted(range(len(recording.leads)), key=lambda row: _order(recording.leads[row])):
        x = recording.x[row]
        if x.size and x.min() < x.max():
            # What lies halfway between two steps must not depend on how it was computed.
            steps = np.floor(x * np.float32(1000) + np.float32(0.3141)).astype(np.int32)
            return blake2b(steps.data, digest_size=16).hexdigest()
    return ""


def _order(lead: str) -> tuple[bool, str]:
    return lead != "II", lead


@np.errstate(over="ignore", invalid="ignore")
def _examine(recording: Recording) -> tuple[list[Finding], Mask | None]:
    """Return findings and the samples that are valid so far and should not be (None for none)."""
    if not recording.x.size:
        return [Finding("length-zero", recording.path)], None
    whole = bool(recording.valid.all())
    every = seconds(recording.x, recording.rate)
    return _judged(recording, list(_faults(recording, whole, every)), whole)


def _judged(
    recording: Recording, faults: list[Fault], whole: bool, doubted: bool = True
) -> tuple[list[Finding], Mask | None]:
    """Say the same of a recording whose leads have these faults.

    Where nothing is invalid, and the leads are not `doubted`, they agree with each other.
    """
    x, valid, leads = recording.x, recording.valid, recording.leads
    found = list(_of_facts(recording, whole))
    bad = _joined(faults, valid)
    found += [_finding(fault, recording) for fault in faults]
    if bad is not None or not whole:
        good = valid if bad is None else valid & ~bad
        if not good.any():
            found.append(Finding("signal-all-invalid", recording.path))
        x, leads = _measured_together(recording, good)
        doubted = True
    if doubted and recording.unit == "mV" and len(leads) > 1 and x.size:
        found += _of_leads(x, leads, recording)
    if not found:
        return found, bad
    said = {(finding.code, finding.lead) for finding in recording.findings}
    return [one for one in found if not said & {(one.code, one.lead), (one.code, "")}], bad


def _of_facts(recording: Recording, whole: bool) -> Iterator[Finding]:
    """Yield what is odd about a recording of anything."""
    path, age = recording.path, recording.age
    if recording.duration < 1:
        yield Finding("length-short", path, f"{recording.duration:.2g} s")
    if age is not None and not 0 <= age <= OLDEST:
        yield Finding("age-absurd", path, f"{age:g}")
    if not whole and not _INVALID & {finding.code for finding in recording.findings}:
        share = 100 - 100 * recording.valid.mean()
        yield Finding("signal-gap", path, f"{share:.2g} % of the samples")


def _faults(recording: Recording, whole: bool, every: Seconds) -> Iterator[Fault]:
    """Look at every lead: together where all is measured, one by one where something is not."""
    x, rate = recording.x, recording.rate
    if whole and np.isfinite(every.span).all():
        if recording.unit == "mV":
            yield from find(x, rate, every)
        return
    finite = np.isfinite(x)
    for row, lost in enumerate(recording.valid & ~finite):
        if lost.any():
            yield Fault("signal-nan", row, f"{np.count_nonzero(lost)} samples", lost)
    if recording.unit != "mV":
        return
    for row, places in enumerate(map(np.flatnonzero, recording.valid & finite)):
        if not len(places):
            continue
        lead = x[row : row + 1, places]
        for fault in find(lead, rate, seconds(lead, rate)):
            where = None
            if fault.where is not None:
                where = np.zeros(x.shape[1], np.bool_)
                where[places[fault.where]] = True
            yield fault._replace(row=row, where=where)


def _joined(faults: list[Fault], valid: Mask) -> Mask | None:
    bad = None
    for fault in faults:
        if fault.where is not None:
            bad = np.zeros(valid.shape, np.bool_) if bad is None else bad
            bad[fault.row] |= fault.where
    return bad if bad is None else bad & valid


def _finding(fault: Fault, recording: Recording) -> Finding:
    detail = fault.detail
    if not detail and fault.where is not None:
        detail = _when(fault.where, recording.rate)
    return Finding(fault.code, recording.path, detail, recording.leads[fault.row])


def _when(where: Mask, rate: float) -> str:
    """Say how long and from when on."""
    if where.all():
        return "throughout"
    starts = np.flatnonzero(where & ~np.concatenate(([False], where[:-1])))
    length = f"{np.count_nonzero(where) / rate:.2g} s"
    if len(starts) > 1:
        return f"{length} in {len(starts)} stretches, the first at {starts[0] / rate:.1f} s"
    return f"{length} from {starts[0] / rate:.1f} s on"


def _measured_together(recording: Recording, good: Mask) -> tuple[Signal, tuple[str, ...]]:
    """Return the leads that are good anywhere, at the times when all of them are."""
    rows = np.flatnonzero(good.any(axis=1))
    columns = np.flatnonzero(good[rows].all(axis=0))
    return recording.x[np.ix_(rows, columns)], tuple(recording.leads[row] for row in rows)


def _may_contradict(x: NDArray[np.float32], first: Recording) -> NDArray[np.bool_]:
    """Tell of which recordings like the first (recordings, leads, time) `_of_leads` may speak."""
    if len(first.leads) < 2:
        return np.zeros(len(x), np.bool_)
    some = np.ascontiguousarray(x[:, :, :: max(x.shape[2] // 16, 1)]).view(np.uint32)
    factors = np.arange(1, 2 * some.shape[2], 2, dtype=np.uint32) * np.uint32(0x9E3779B1)
    sums = np.add.reduce(some * factors, axis=2, dtype=np.uint32)
    sums.sort(axis=1)
    copies: NDArray[np.bool_] = (sums[:, 1:] == sums[:, :-1]).any(axis=1)
    return copies | may_depart(x, first.leads, max(math.floor(first.rate), 1))


def _of_leads(x: Signal, leads: tuple[str, ...], recording: Recording) -> Iterator[Finding]:
    """Yield what the leads say together: swapped electrodes, copies."""
    path = recording.path
    if found := departure(x, leads, max(math.floor(recording.rate), 1)):
        code = "einthoven-broken" if found.broken else "einthoven-inexact"
        yield Finding(code, path, str(found))
    seen: dict[bytes, int] = {}
    some = x[:, :: max(x.shape[1] // 16, 1)]
    raw, each = some.tobytes(), some.shape[1] * some.itemsize
    for row in range(len(leads)):
        other = seen.setdefault(raw[row * each : (row + 1) * each], row)
        if other != row and np.array_equal(x[row], x[other]):
            yield Finding("leads-identical", path, f"the same as lead {leads[other]}", leads[row])
