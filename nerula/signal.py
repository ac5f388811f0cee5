"""Signals: resample, filter, bridge gaps, normalise, cut into windows. NumPy only.

Resampling and band-pass are one operation: a real FFT of the signal with reflected edges, one
multiplication by both responses, the spectrum cut to the new rate, one inverse FFT. It equals a
zero-phase Butterworth filter (forward and backward) followed by polyphase resampling with a
Gaussian-windowed sinc, at a fraction of the cost. All arithmetic is in float64, so that rounding
to a store's counts gives the same bytes on every machine.

Arrays are (leads, time); time is always the last axis.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Band = tuple[float, float]
Signal = NDArray[np.float32]
Validity = NDArray[np.bool_]

ORDER = 2
"""Order of the Butterworth band-pass, applied forward and backward."""
CUTOFF, WIDTH = 0.9, 0.02
"""Anti-alias filter, in Nyquist frequencies: where it halves, standard deviation of its edge."""

_SECTION = 1 << 16  # longer recordings are conditioned in sections of about this many samples
_STEPS: tuple[int, ...] = (*range(1, 17), 18, 20, 21, 22, 24, 25, 27, 28, 30, 32)
_LARGEST_RATIO = 100_000


def resample(x: Signal, rate: float, target: float) -> Signal:
    """Resample (..., time) from `rate` to `target` Hz, without delay, aliases or drift."""
    return _filtered(x, rate, target, None)


def bandpass(x: Signal, rate: float, low: float, high: float) -> Signal:
    """Keep `low` to `high` Hz of (..., time), without delay."""
    return _filtered(x, rate, rate, (low, high))


def condition(
    x: Signal, valid: Validity, rate: float, target: float, band: Band | None = None
) -> tuple[Signal, Validity]:
    """Resample to `target` Hz and filter one recording (leads, time), minding what is missing.

    Gaps are bridged by straight lines first. An output sample is valid where every input sample
    closer than one period of the slower rate was; elsewhere x is 0.
    """
    whole = bool(valid.all() and np.isfinite(x).all())
    measured = valid if whole else valid & np.isfinite(x)
    if rate != target or band is not None:
        bridged = x if whole else bridge(x, measured)
        y, valid = _filtered(bridged, rate, target, band), _carried(measured, rate, target, whole)
    else:
        y, valid = x.astype(np.float32), measured.copy()
    if not whole:
        y[~valid] = 0
    return y, valid


def bridge(x: Signal, valid: Validity) -> Signal:
    """Join what is valid in (leads, time) by straight lines; hold the value at the ends."""
    bridged = x.copy()
    for row, measured in zip(bridged, valid, strict=True):
        if measured.all():
            continue
        known = np.flatnonzero(measured)
        if len(known):
            missing = np.flatnonzero(~measured)
            row[missing] = np.interp(missing, known, row[known])
        else:
            row[:] = 0
    return bridged


def normalise(x: Signal, valid: Validity, how: str = "zscore") -> Signal:
    """Scale each lead by its own valid samples; invalid samples become 0.

    "zscore": mean 0 and standard deviation 1; "robust": median 0 and interquartile range 1.349;
    "none": as it is. A lead without any spread becomes 0.
    """
    if how == "none":
        return np.where(valid, x, np.float32(0))
    if how not in ("zscore", "robust"):
        raise ValueError(f"unknown normalisation {how!r}: zscore, robust or none")
    y = np.zeros(x.shape, np.float32)
    for place in np.ndindex(x.shape[:-1]):
        values = x[place][valid[place]].astype(np.float64)
        if not len(values):
            continue
        if how == "zscore":
            centre, spread = values.mean(), values.std()
        else:
            low, centre, high = np.percentile(values, (25, 50, 75))
            spread = (high - low) / 1.349
        if spread > 1e-6:
            y[place][valid[place]] = (values - centre) / spread
    return y


def windows(
    x: Signal, valid: Validity, length: int, step: int | None = None
) -> tuple[Signal, Validity, NDArray[np.int64]]:
    """Cut (leads, time) into windows (count, leads, length), with the sample each starts at.

    Every sample lies in a window; the last one is padded with invalid zeros.
    """
    step = length if step is None else step
    if not 1 <= step <= length:
        raise ValueError(f"windows of {length} samples cannot advance by {step}")
    time = x.shape[-1]
    starts = np.arange(0, max(time - length + step, 1), step)
    padding = ((0, 0), (0, max(int(starts[-1]) + length - time, 0)))

    def cut(values: NDArray[np.generic]) -> NDArray[np.generic]:
        views = np.lib.stride_tricks.sliding_window_view(np.pad(values, padding), length, axis=1)
        return np.ascontiguousarray(views[:, starts].swapaxes(0, 1))

    return cut(x), cut(valid), starts  # type: ignore[return-value]


@lru_cache(maxsize=256)
def ratio(rate: float, target: float) -> tuple[int, int]:
    """`target / rate` as a fraction in lowest terms (up, down), exact for rates that occur."""
    exact = Fraction(target).limit_denominator(10**6) / Fraction(rate).limit_denominator(10**6)
    fraction = exact.limit_denominator(max(_LARGEST_RATIO, 10 * math.ceil(rate / target)))
    return fraction.numerator, fraction.denominator


# --- the fused filter ----------------------------------------------------------------------------


def _filtered(x: Signal, rate: float, target: float, band: Band | None) -> Signal:
    up, down = ratio(rate, target)
    time = x.shape[-1]
    total = -(-time * up // down)
    if time == 0 or (up == down and band is None):
        return x.astype(np.float32)
    settle = _settling(rate, target, band)
    if time <= 2 * (_SECTION + settle):
        return _section(x, rate, target, band)
    y = np.empty((*x.shape[:-1], total), np.float32)
    margin = -(-settle // down) * down
    step = -(-_SECTION // down) * down
    for start in range(0, time, step):
        before = min(start, margin)
        piece = _section(x[..., start - before : start + step + margin], rate, target, band)
        begin, skip = start * up // down, before * up // down
        keep = min(step * up // down, total - begin)
        y[..., begin : begin + keep] = piece[..., skip : skip + keep]
    return y


def _section(x: Signal, rate: float, target: float, band: Band | None) -> Signal:
    up, down = ratio(rate, target)
    time = x.shape[-1]
    if 2 * time % down == 0 and _is_smooth(time):
        y = _endless(x, rate, target, band)
    else:
        y = _padded(x, rate, target, band)
    return y[..., : -(-time * up // down)].astype(np.float32, copy=False)


def _padded(x: Signal, rate: float, target: float, band: Band | None) -> NDArray[np.float64]:
    """Reflect as much as the filters remember; multiply in the frequency domain."""
    up, down = ratio(rate, target)
    time = x.shape[-1]
    length = down * _smooth_from(-(-(time + 2 * _settling(rate, target, band)) // down))
    before = (length - time) // 2
    after = length - time - before
    extended = np.empty((*x.shape[:-1], length), np.float64)
    extended[..., :time] = x
    if after <= time:
        extended[..., time : time + after] = x[..., time - after :][..., ::-1]
        extended[..., length - before :] = x[..., :before][..., ::-1]
    else:  # shorter than what the filters remember: reflect again and again
        place = np.arange(time, length)
        place[after:] -= length
        place %= 2 * time
        extended[..., time:] = x[..., np.minimum(place, 2 * time - 1 - place)]
    gain = _padded_gain(length, rate, target, band)
    spectrum = np.fft.rfft(extended)[..., : len(gain)]
    return np.fft.irfft(spectrum * gain, length // down * up)


@lru_cache(maxsize=64)
def _padded_gain(
    length: int, rate: float, target: float, band: Band | None
) -> NDArray[np.float64]:
    up, down = ratio(rate, target)
    after = length // down * up
    frequency = np.arange(min(length, after) // 2 + 1) * (rate / length)
    return _gain(frequency, rate, target, band) * (after / length)


def _endless(
    x: Signal, rate: float, target: float, band: Band | None
) -> NDArray[np.float64 | np.float32]:
    """Reflect without end, which takes half the work: the spectrum is a cosine transform.

    It follows from a transform of the samples in the order 0 2 4 ... 5 3 1, of which bin k holds
    cosines k and n - k (Makhoul 1980, https://doi.org/10.1109/TASSP.1980.1163351).
    """
    plan = _endless_plan(x.shape[-1], rate, target, band)
    time = x.shape[-1]
    half = -(-time // 2)
    ordered = np.empty(x.shape, np.float64)
    ordered[..., :half] = x[..., ::2]
    ordered[..., half:] = x[..., 1::2][..., ::-1]
    both = np.fft.rfft(ordered)
    if len(plan.back) < both.shape[-1]:
        cosines = (both[..., : len(plan.back)] * plan.turn[: len(plan.back)]).real
        return np.fft.irfft(cosines * plan.back, plan.after)
    both *= plan.turn
    if rate == target:
        both.real *= plan.gain[: both.shape[-1]]
        both.imag *= plan.gain[: -both.shape[-1] - 1 : -1]
        both *= plan.back
        filtered = np.fft.irfft(both, time)
        back = np.empty(x.shape, np.float32)
        back[..., ::2] = filtered[..., :half]
        back[..., 1::2] = filtered[..., half:][..., ::-1]
        return back
    cosines = np.concatenate((both.real, -both.imag[..., (time - 1) // 2 : 0 : -1]), axis=-1)
    return np.fft.irfft(cosines[..., : len(plan.back)] * plan.back, plan.after)


@dataclass(frozen=True, slots=True)
class _EndlessPlan:
    """What one length needs: two lengths of the reflection afterwards, phases and gain."""

    after: int
    gain: NDArray[np.float64]
    turn: NDArray[np.complex128]
    """Makes cosines of a spectrum."""
    back: NDArray[np.complex128]
    """Makes a spectrum of cosines; has the gain in it where the rate changes."""


@lru_cache(maxsize=32)
def _endless_plan(time: int, rate: float, target: float, band: Band | None) -> _EndlessPlan:
    up, down = ratio(rate, target)
    after = 2 * time // down * up
    number = np.arange(min(time, after // 2) + 1)
    gain = _gain(number * (rate / (2 * time)), rate, target, band)
    turn = np.exp(-0.5j * math.pi * number / time)
    if rate == target:
        return _EndlessPlan(after, gain, turn[: time // 2 + 1], turn[: time // 2 + 1].conj())
    back = (turn.conj() * gain * (after / time))[: min(time, after // 2)]
    return _EndlessPlan(after, gain, turn[: time // 2 + 1], back)


def _gain(
    frequency: NDArray[Any], rate: float, target: float, band: Band | None
) -> NDArray[np.float64]:
    """Amplitude that is left of each frequency."""
    gain = np.ones(len(frequency))
    if rate != target:
        gain *= _antialias_gain(frequency, min(rate, target) / 2)
    if band is not None:
        gain *= _band_gain(frequency, rate, band)
    return gain


def _settling(rate: float, target: float, band: Band | None) -> int:
    """Samples after which both filters have forgotten an edge to less than 1e-7."""
    seconds = 5.7 / (2 * math.pi * WIDTH * min(rate, target) / 2) if rate != target else 0.0
    if band is not None:
        seconds += 4 / band[0]
    return math.ceil(seconds * rate)


def _antialias_gain(frequency: NDArray[np.float64], nyquist: float) -> NDArray[np.float64]:
    """1 up to 0.8 of the Nyquist frequency, 0 from there on: a sinc in a Gaussian window."""
    gain = np.zeros(len(frequency))
    gain[frequency <= nyquist * (CUTOFF - 6 * WIDTH)] = 1
    edge = np.flatnonzero((gain == 0) & (frequency < nyquist))
    scaled = (frequency[edge] / nyquist - CUTOFF) / (WIDTH * math.sqrt(2))
    gain[edge] = [0.5 * math.erfc(value) for value in scaled]
    return gain


def _band_gain(frequency: NDArray[np.float64], rate: float, band: Band) -> NDArray[np.float64]:
    """Squared magnitude of a digital Butterworth band-pass: once forward, once backward."""
    low, high = (math.tan(math.pi * edge / rate) if edge < rate / 2 else None for edge in band)
    if low is None:
        raise ValueError(f"a pass band from {band[0]} Hz needs a rate above {2 * band[0]} Hz")
    with np.errstate(divide="ignore"):
        warped = np.tan(np.minimum(math.pi * frequency / rate, math.pi / 2))
        if high is None:  # the signal ends below the upper edge: only the lower one matters
            relative = low / warped
        else:
            relative = (warped**2 - low * high) / ((high - low) * warped)
    gain: NDArray[np.float64] = 1 / (1 + relative ** (2 * ORDER))
    return gain


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5, 7, 11):
        while number % prime == 0:
            number //= prime
    return number == 1


@lru_cache(maxsize=256)
def _smooth_from(number: int) -> int:
    """A length from `number` on that the FFT does fast, one of few, so that gains are shared."""
    scale = 1 << max(number.bit_length() - 5, 0)
    return scale * next(step for step in _STEPS if step * scale >= number)


# --- validity ------------------------------------------------------------------------------------


def _carried(valid: Validity, rate: float, target: float, whole: bool) -> Validity:
    """Validity at the new rate: all input samples closer than one period of the slower rate."""
    up, down = ratio(rate, target)
    time = valid.shape[-1]
    total = -(-time * up // down)
    carried = np.ones((len(valid), total), np.bool_)
    if whole:
        return carried
    place = np.arange(total) * down
    reach = max(up, down)
    first = np.maximum((place - reach) // up + 1, 0)
    last = np.minimum(-(-(place + reach) // up) - 1, time - 1)
    for row, measured in zip(carried, valid, strict=True):
        if not measured.all():
            missing = np.concatenate(([0], np.cumsum(~measured, dtype=np.int64)))
            row[:] = missing[last + 1] == missing[first]
    return carried
