"""A wrong gain, unit or rate shows in the signal: hearts have their size and their pace."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.recording import Recording

_AMPLITUDES = (0.08, 6.0)
"""mV from the lowest to the highest sample of a typical second, of a typical lead."""
_COMMON_RATES = frozenset((100, 120, 125, 128, 200, 250, 256, 257, 300, 360, 400, 500, 512, 1000))
_STEEPNESS = {True: (4.0, 150.0), False: (14.0, 120.0)}
"""Full heights per second, at common rates and at rare ones; a QRS of 100 ms has some 50."""
_MIDDLE = (1.1, 60.0)
"""Hz; half of a heart's movement is below, half above some 10 Hz."""
ENOUGH, _LEADS_TO_ASK = 2048, 3
"""Samples of each of the highest leads to judge the pace by."""
_LEVELS, _SURELY = (0.7, 0.25), 1.001
"""Shares of a lead's span between which most of a heart's height lies; more than rounding does."""
_HIGHEST = 1e5
"""mV; beyond, nothing more is to be learnt and squares overflow."""


def doubted(recording: Recording) -> Recording:
    """Add what is odd about amplitudes and pace, if there is a second that is wholly valid.

    For formats without a checksum. Refuse a unit that was assumed, if it gives no heart's size.
    """
    x = recording.x[:, recording.valid.all(axis=0)]
    if x.shape[1] < recording.rate:
        return recording
    odd = of_signals(np.clip(x, -_HIGHEST, _HIGHEST), recording.rate)
    if any(finding.code == "unit-missing" for finding in recording.findings):
        for finding in odd:
            if finding.code == "amplitude-absurd":
                detail = f"{finding.detail} if they were mV; give --source-unit"
                raise refuse("unit-unknown", recording.path, detail)
    findings = (replace(finding, path=recording.path) for finding in odd)
    return replace(recording, findings=(*recording.findings, *findings))


def of_signals(x: NDArray[np.float32], rate: float) -> list[Finding]:
    """Doubt gains and rates under which the signal (leads, time) would come from no heart."""
    return judged(heights(x, rate), lambda lead: x[lead, :ENOUGH], rate)


def judged(
    heights: NDArray[np.float64], beginning: Callable[[int], NDArray[np.floating]], rate: float
) -> list[Finding]:
    """Doubt gains and rates, given each lead's height in mV and, where it is asked for, a lead's
    first `ENOUGH` samples in any unit. So a file's whole numbers need not be converted for it.
    """
    odd = []
    order = heights.argsort()
    typical = float(heights[order[len(order) // 2]])
    if typical and not _AMPLITUDES[0] <= typical <= _AMPLITUDES[1]:
        odd.append(Finding("amplitude-absurd", detail=f"{typical:.3g} mV in a typical second"))
    paces = (_pace(beginning(lead), rate) for lead in order[: -_LEADS_TO_ASK - 1 : -1].tolist())
    if (pace := next(paces)) and all(other == pace for other in paces):
        odd.append(Finding("rate-implausible", detail=f"{pace} for {rate:g} Hz"))
    return odd


def heights(x: NDArray[Any], rate: float) -> NDArray[np.float64]:
    """Return what a typical second of each lead spans, in whatever unit; 0 where it is flat.

    `x` is (..., time), as of the leads of one record or of several.
    """
    length = x.shape[-1]
    second = min(int(rate), length)
    seconds = x[..., : length // second * second].reshape(*x.shape[:-1], -1, second)
    spans = np.subtract(seconds.max(-1), seconds.min(-1), dtype=np.float64)
    spans.sort(axis=-1)
    middle: NDArray[np.float64] = spans[..., spans.shape[-1] // 2]
    return middle


def undoubted(
    heights: NDArray[np.float64], beginnings: Callable[[Any], NDArray[Any]], rate: float
) -> NDArray[np.bool_]:
    """Tell of which records `judged` surely has nothing to say; of the others it may have.

    `heights` (records, leads) are in mV; `beginnings` gives a lead of each record, chosen by its
    number, as (records, samples) in any unit.
    """
    order = heights.argsort(axis=1)
    middle = order[:, order.shape[1] // 2]
    typical = heights[np.arange(len(heights)), middle]
    usual = (_AMPLITUDES[0] <= typical) & (typical <= _AMPLITUDES[1])
    return usual & _surely_paced(beginnings(order[:, -1]), rate)


def _surely_paced(x: NDArray[Any], rate: float) -> NDArray[np.bool_]:
    """Tell in which rows `_pace` surely finds nothing, by counting instead of sorting.

    The height that it measures lies between two levels that enough samples are beyond, and the
    span of all samples.
    """
    few = x.shape[1] // 100
    if not few or x.dtype != np.int16:  # others are not exact in float32
        return np.zeros(len(x), np.bool_)
    x = x.astype(np.float32)
    steps = np.abs(x[:, 1:] - x[:, :-1])
    low, high = x.min(axis=1, keepdims=True), x.max(axis=1, keepdims=True)
    upper, lower = (low + share * (high - low) for share in _LEVELS)
    least, most = _STEEPNESS[rate in _COMMON_RATES]
    beyond = (
        x >= upper,
        x <= lower,
        steps >= _SURELY * least / rate * (high - low),
        steps > most / rate / _SURELY * (upper - lower),
    )
    # Row by row, a truth's bytes are counted many at a time; along an axis, one by one.
    counts = np.array([[np.count_nonzero(row) for row in mask] for mask in beyond])
    above, below, steep, too_steep = counts > few
    sure: NDArray[np.bool_] = above & below & steep & ~too_steep & (high > low)[:, 0]
    return sure


def _pace(x: NDArray[np.floating], rate: float) -> str:
    """Return "too slow" or "too fast" where no heart moves so, judging by its steepest 1 %.

    The limits are out of reach of every recording of PTB-XL, Challenge 2017 and ECG-ID, noise
    and wandering baselines included; a rate that is ten times off crosses them about every second
    time. They are closer where the rate itself is rare. Twice or half the rate of one person is
    the rate of another: that cannot be seen.
    """
    few = len(x) // 100
    values, steps = x.copy(), np.abs(x[1:] - x[:-1])
    values.sort()
    steps.sort()
    height = values[-1 - few] - values[few]
    if height <= 0 or len(x) < 100:
        return ""
    steepness = float(steps[-1 - few] / height) * rate
    least, most = _STEEPNESS[rate in _COMMON_RATES]
    if least <= steepness <= most:
        return ""
    pace = "too slow" if steepness < least else "too fast"
    if rate not in _COMMON_RATES:
        return pace
    middle = _middle_frequency(x, rate)
    return pace if not _MIDDLE[0] <= middle <= _MIDDLE[1] else ""


def _middle_frequency(x: NDArray[np.floating], rate: float) -> float:
    """Return where half of a signal's movement is slower and half is faster, mains hum aside."""
    power = np.abs(np.fft.rfft(x - x.mean())) ** 2
    frequency = np.arange(len(power)) * rate / len(x)
    for hum in (50, 60, 100, 120):
        power[np.abs(frequency - hum) < 2] = 0
    movement = np.cumsum(power * np.minimum(frequency, 10))  # fast waves are small, but they count
    return float(frequency[np.searchsorted(movement, movement[-1] / 2)])
