"""Faults of single leads: flat, clipped, absurdly large, noise.

Every threshold is a statement about hearts, electrodes or converters, in mV and seconds, so that
it holds at any rate and resolution.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float32]
Mask = NDArray[np.bool_]

FLAT_SECONDS = 0.5
"""A converter that repeats one value for so long measures nothing: between two beats, PTB-XL in
steps of 5 µV stands still for 0.34 s."""
FLAT_MILLIVOLTS = 0.01
"""Two seconds within so little hold no beat; the quietest of PTB-XL span 0.1 mV."""
RAIL_SAMPLES, RAIL_MILLIVOLTS = 4, 0.05
"""Peaks are round: so many samples at the very top (or bottom) of a lead, and fewer in the
millivolts before it, are the limit of an amplifier."""
LARGEST = 15.0
"""mV that a second of a lead spans; a heart reaches a third of it."""
ROUGHNESS = 0.7
"""Energy of the change within 10 ms over energy: 2 for white noise, 3 to 4 for mains hum. Hearts
are smoother, in fibrillation and flutter too."""
TAIL = 1.35
"""Root mean square over mean of the change: a sine has 1.11, noise 1.25, beats 1.5 to 4."""
PEAK = 5.5
"""The extreme of a second over the median, each as a distance from its middle: 4 to 5 in noise, 6
to 100 where there are beats."""
_LAG = 0.01  # s
_MAINS = (50, 60)  # Hz
_SLOWEST = 90.0  # Hz; below, what tells noise from beats is not in the signal any more
_ROUGH_AT_ALL = 0.14  # change within 10 ms over height of a second: worth a second look
_MARGIN = 0.02  # s beside a bad stretch that are not believed either


class Fault(NamedTuple):
    """One fault of one row. `where` are the samples that it spoils, if not the whole row."""

    code: str
    row: int
    detail: str
    where: Mask | None = None


class Seconds(NamedTuple):
    """Every second of each row (rows, seconds): its highest and lowest value, and its span."""

    top: NDArray[np.float32]
    bottom: NDArray[np.float32]
    span: NDArray[np.float32]

    @property
    def height(self) -> NDArray[np.float32]:
        """What a typical second of each row spans."""
        spans = self.span.copy()
        spans.sort(axis=1)
        typical: NDArray[np.float32] = spans[:, spans.shape[1] // 2]
        return typical


def seconds(x: Signal, rate: float) -> Seconds:
    """Measure every second of `x` (rows, time); the last one may be longer."""
    rows, time = x.shape
    each = min(max(round(rate), 1), time)
    count = time // each
    cut = x[:, : count * each].reshape(rows, count, each)
    top, bottom = cut.max(axis=2), cut.min(axis=2)
    if (rest := x[:, count * each :]).size:
        np.maximum(top[:, -1], rest.max(axis=1), out=top[:, -1])
        np.minimum(bottom[:, -1], rest.min(axis=1), out=bottom[:, -1])
    return Seconds(top, bottom, top - bottom)


def find(x: Signal, rate: float, every: Seconds) -> list[Fault]:
    """Find what is wrong with each row of `x` (rows, time), whose seconds are `every`."""
    height = every.height
    faults = list(_flat(x, rate, every))
    flat = {fault.row for fault in faults}
    throughout = {fault.row for fault in faults if fault.where is not None and fault.where.all()}
    faults += _clipped(x, rate, every, throughout)
    for row in (height > LARGEST).nonzero()[0].tolist():
        detail = f"{height[row]:.3g} mV in a typical second"
        faults.append(Fault("amplitude-absurd", row, detail))
    faults += _noise(x, rate, height, flat)
    margin = math.ceil(_MARGIN * rate)
    return [
        fault if fault.where is None else fault._replace(where=_widened(fault.where, margin))
        for fault in faults
    ]


# --- flat ----------------------------------------------------------------------------------------


def _flat(x: Signal, rate: float, every: Seconds) -> Iterator[Fault]:
    time = x.shape[1]
    least = min(max(math.ceil(FLAT_SECONDS * rate), 2), time)
    step = max(least // 8, 1)
    grid = x[:, ::step]  # a run that is long enough holds several of these in a row
    still = _in_a_row(grid[:, 1:] == grid[:, :-1], max(least // step - 1, 1))
    quiet = _quiet(every)
    for row in np.logical_or(still.any(axis=1), quiet.any(axis=1)).nonzero()[0].tolist():
        where = _runs(_in_a_row((x[row, 1:] == x[row, :-1])[None], least - 1)[0], least)
        if quiet[row].any():
            each = np.minimum(np.arange(time) // max(round(rate), 1), quiet.shape[1] - 1)
            where |= quiet[row][each]
        if where.any():
            yield Fault("signal-flat", row, "", where)


def _quiet(every: Seconds) -> Mask:
    """Which seconds, together with the one before or after, hardly move."""
    top, bottom, span = every
    quiet = span < FLAT_MILLIVOLTS
    if quiet.any():
        quiet[:] = False
        both = np.maximum(top[:, 1:], top[:, :-1]) - np.minimum(bottom[:, 1:], bottom[:, :-1])
        pair = both < FLAT_MILLIVOLTS
        quiet[:, 1:] = pair
        quiet[:, :-1] |= pair
    return quiet


def _in_a_row(mask: Mask, count: int) -> Mask:
    """Whether `count` values from here on are all true, for each place (rows, places)."""
    covered = 1
    while covered < count:
        shift = min(covered, count - covered)
        mask = mask[:, :-shift] & mask[:, shift:]
        covered += shift
    return mask


def _runs(starts: Mask, length: int) -> Mask:
    """Mark `length` places from every start on."""
    edges = np.zeros(len(starts) + length, np.int64)
    edges[: len(starts)] += starts
    edges[length:] -= starts
    runs: Mask = np.cumsum(edges)[: len(starts) + length - 1] > 0
    return runs


def _widened(where: Mask, margin: int) -> Mask:
    wide = where.copy()
    for shift in range(1, min(margin, len(where) - 1) + 1):
        wide[shift:] |= where[:-shift]
        wide[:-shift] |= where[shift:]
    return wide


# --- clipped -------------------------------------------------------------------------------------


def _clipped(x: Signal, rate: float, every: Seconds, flat: set[int]) -> Iterator[Fault]:
    top, bottom = every.top.max(axis=1), every.bottom.min(axis=1)
    counts = _at_extremes(x, rate, every, top, bottom)
    for row in (counts >= RAIL_SAMPLES).nonzero()[0].tolist():
        if row in flat:
            continue
        levels = [level for level in (top[row], bottom[row]) if _is_rail(x[row], level)]
        if levels:
            where = np.isin(x[row], levels)
            said = " and ".join(f"{level:.3g} mV" for level in levels)
            detail = f"{np.count_nonzero(where)} samples at {said}"
            yield Fault("signal-clipped", row, detail, where)


def _at_extremes(
    x: Signal,
    rate: float,
    every: Seconds,
    top: NDArray[np.float32],
    bottom: NDArray[np.float32],
) -> NDArray[np.intp]:
    """Count the samples of each row that are its highest or lowest, in the seconds with one."""
    rows, last = len(x), every.top.shape[1] - 1
    each = min(max(round(rate), 1), x.shape[1])
    held = (every.top == top[:, None]) | (every.bottom == bottom[:, None])
    row, second = held[:, :last].nonzero()
    some = x[:, : last * each].reshape(rows, last, each)[row, second]
    at_one = (some == top[row, None]) | (some == bottom[row, None])
    before = row[at_one.ravel().nonzero()[0] // each]
    rest = x[:, last * each :]  # the last second may be longer than the others
    at_one = (rest == top[:, None]) | (rest == bottom[:, None])
    after = at_one.ravel().nonzero()[0] // rest.shape[1]
    return np.bincount(np.concatenate((before, after)), minlength=rows)


def _is_rail(x: Signal, level: np.float32) -> bool:
    away = (x != level).nonzero()[0]
    x = x[away[0] : away[-1] + 1]  # at either end, a wandering baseline has its extremes too
    distance = np.abs(x - level)
    held = np.count_nonzero(distance == 0)
    if held < RAIL_SAMPLES:
        return False
    steps = np.abs(x[1:] - x[:-1])
    step = steps[steps > 0].min(initial=np.inf)  # of a coarse converter, if it is one
    return bool(np.count_nonzero(distance <= max(RAIL_MILLIVOLTS, 4 * step)) < 2 * held)


# --- noise ---------------------------------------------------------------------------------------


def _noise(x: Signal, rate: float, height: NDArray[np.float32], flat: set[int]) -> Iterator[Fault]:
    """Yield rows of noise: rough, and with nothing that stands out, even without mains hum."""
    if rate < _SLOWEST or x.shape[1] < 2 * rate:
        return
    lag = max(round(_LAG * rate), 1)
    quarter = x[:, : x.shape[1] // 4 + lag]  # enough for a first look
    change = quarter[:, lag:] - quarter[:, :-lag]
    energy = np.einsum("ij,ij->i", change, change) / change.shape[1]
    for row in (energy > (_ROUGH_AT_ALL * height) ** 2).nonzero()[0].tolist():
        if row not in flat and _is_noise(x[row].astype(np.float64), rate, lag):
            yield Fault("signal-noise", row, "nothing in it stands out as a beat")


def _is_noise(x: NDArray[np.float64], rate: float, lag: int) -> bool:
    change = x[lag:] - x[:-lag]
    if _tail(change) > TAIL or change.var() < ROUGHNESS * x.var():
        return False
    for mains in _MAINS:
        width = max(round(rate / mains), 1)
        x = np.convolve(x, np.full(width, 1 / width), "valid")
    change = x[lag:] - x[:-lag]
    return _tail(change) < TAIL and max(_peak(change, rate), _peak(x, rate)) < PEAK


def _peak(x: NDArray[np.float64], rate: float) -> float:
    """Return how far the extreme of a typical second is from its middle, in median distances."""
    second = round(rate)
    cut = x[: len(x) // second * second].reshape(-1, second)
    distance = np.abs(cut - np.median(cut, axis=1, keepdims=True))
    typical = np.median(distance)
    return float(np.median(distance.max(axis=1)) / typical) if typical else 0.0


def _tail(change: NDArray[np.float64]) -> float:
    mean = np.abs(change).mean()
    return float(np.sqrt(change @ change / len(change)) / mean) if mean else 0.0
