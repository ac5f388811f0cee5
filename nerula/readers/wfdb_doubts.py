"""What a WFDB header says twice, and whether it says the same both times.

A header has no checksum of its own: `1000` can become `100` and still be a header. But leads agree
with each other, devices have their gains, writers have their habits, and hearts have their size;
where a statement fits none of them, it is doubted aloud. Nothing here changes what is read.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers.names import CHEST, LIMB, STANDARD, millivolts_per, name_leads
from nerula.readers.wfdb_header import Encoding
from nerula.readers.wfdb_signal import BITS

_DEFAULT_GAIN = 200.0
_GAINS = frozenset((100.0, 200.0, 204.8, 250.0, 400.0, 500.0, 800.0, 1000.0, 2000.0, 4880.0))
"""Steps per mV that need no explanation: PTB-XL and Challenge 2017 1,000, MIT-BIH and ECG-ID 200,
PTB 2,000, Georgia 4,880, CU ventricular 400, sleep 500, 10 µV, 4 µV and 1.25 µV steps."""
_GAIN_RANGE = (0.5, 1.3e5)
"""Steps per mV: beyond, 16 bits would span less than half a mV. 24 and 32 bits may be finer."""
_COARSE = 12
"""Bits of analogue recorders, whose gains were calibrated by hand and may be any number."""
_FILLED = 0.25
"""Of the format's range: a writer that chose the gain by itself uses at least that much."""
_AMPLITUDES = (0.08, 6.0)
"""mV from the lowest to the highest sample of a typical second, of a typical lead."""
_COMMON_RATES = frozenset((100, 120, 125, 128, 200, 250, 256, 257, 300, 360, 400, 500, 512, 1000))
_STEEPNESS = {True: (4.0, 150.0), False: (14.0, 120.0)}
"""Full heights per second, at common rates and at rare ones; a QRS of 100 ms has some 50."""
_MIDDLE = (1.1, 60.0)
"""Hz; half of a heart's movement is below, half above some 10 Hz."""
_ENOUGH, _LEADS_TO_ASK = 2048, 3
"""Samples of each of the highest leads to judge the pace by."""

_NOT_ECG_UNITS = frozenset(
    (
        "mmHg", "cmH2O", "kPa", "Pa", "NU", "nu", "adu", "bpm", "BPM", "/min", "pm", "%",
        "degrees", "deg", "degC", "C", "F", "°", "°C", "L", "l", "L/min", "l/min", "mL", "ml",
        "mL/s", "Ohm", "ohm", "Ohms", "kOhm", "uS", "mg", "g", "m/s2", "m/s^2", "Hz", "s", "ms",
    )
)  # fmt: skip
_NOT_ECG_NAME = re.compile(
    r"(?:RESP|PLETH|PPG|ABP|ART|BP|NBP|PAP|CVP|ICP|CO2|SPO2|SAO2|GSR|EDA|HR|EEG|EMG|EOG|marker"
    r"|foot GSR|hand GSR|accel\w*|temp\w*)(?:[ ._\d].*)?",
    re.IGNORECASE,
)
_LIMB_ORDERS = (
    LIMB,
    ("I", "II", "III", "aVR", "aVF", "aVL"),
    ("I", "II", "III", "aVL", "aVR", "aVF"),
    ("I", "II", "III", "aVF", "aVL", "aVR"),
    ("aVL", "I", "aVR", "II", "aVF", "III"),  # Cabrera
)


class Layout(NamedTuple):
    """What the signal lines of a header come to. Most records of a data set share one."""

    kept: list[int] | None
    """Which signals are ECG; None for all."""
    leads: tuple[str, ...]
    gain: NDArray[np.float64]
    """Steps per mV of all signals, (signals, 1)."""
    baseline: NDArray[np.float64]
    unexplained: bool
    """The gains are only believed of samples that fill their format's range."""
    findings: tuple[Finding, ...]


@lru_cache(maxsize=4096)
def layout(encodings: tuple[Encoding, ...]) -> Layout:
    """Interpret the signal lines of a header: leads, gains, baselines, and what is odd."""
    kept = [number for number, encoding in enumerate(encodings) if _is_ecg(encoding)]
    if not kept:
        raise refuse("ecg-missing")
    ecg = [encodings[number] for number in kept]
    leads, findings = name_leads([encoding.description for encoding in ecg], None)
    odd = list(findings)
    if len(kept) < len(encodings):
        others = (e.description for e in encodings if not _is_ecg(e))
        odd.append(Finding("signals-not-ecg", detail=", ".join(others)[:200]))
    by_signal = dict(zip(kept, leads, strict=True))
    every = [_gain(e, by_signal.get(number), odd) for number, e in enumerate(encodings)]
    baselines = [e.baseline if e.baseline is not None else e.zero or 0 for e in encodings]
    gains = [every[number] for number in kept]
    unexplained = _doubt_gains(ecg, gains, odd)
    _doubt_baselines(ecg, gains, odd)
    _doubt_leads(leads, odd)
    return Layout(
        kept if len(kept) < len(encodings) else None,
        leads,
        _column(every),
        _column(baselines),
        unexplained,
        tuple(odd),
    )


def _column(values: list[float] | list[int]) -> NDArray[np.float64]:
    column = np.array(values, np.float64)[:, None]
    column.flags.writeable = False
    return column


def _is_ecg(encoding: Encoding) -> bool:
    if encoding.unit in _NOT_ECG_UNITS or _NOT_ECG_NAME.fullmatch(encoding.description):
        return False
    if encoding.unit is not None and millivolts_per(encoding.unit) is None:
        raise refuse("unit-unknown", detail=repr(encoding.unit), lead=encoding.description)
    return True


def _gain(encoding: Encoding, lead: str | None, odd: list[Finding]) -> float:
    """Return steps per mV; whatever it is of, where it is no lead."""
    if lead is None:
        return encoding.gain or _DEFAULT_GAIN
    if encoding.gain is None:
        odd.append(Finding("gain-missing", lead=lead))
        return _DEFAULT_GAIN
    if encoding.gain <= 0:
        raise refuse("gain-negative" if encoding.gain < 0 else "gain-zero", lead=lead)
    gain = encoding.gain / (millivolts_per(encoding.unit or "mV") or 1.0)
    least, most = _GAIN_RANGE
    if not least <= gain <= (most if BITS.get(encoding.format, 16) <= 16 else 1e10):
        raise refuse("gain-absurd", detail=f"{gain:g} steps per mV", lead=lead)
    return gain


def _doubt_gains(ecg: list[Encoding], gains: list[float], odd: list[Finding]) -> bool:
    """Doubt gains that nothing explains; return whether the samples may still explain them."""
    usual = any(gain in _GAINS for gain in gains)
    if len(set(gains)) == 1 and (usual or len(gains) > 1):
        return False
    if usual:
        spread = f"{min(gains):g} to {max(gains):g} steps per mV"
        odd.append(Finding("gain-unusual", detail=spread))
        return False
    bits = max(min(e.resolution or 16, BITS.get(e.format, 16)) for e in ecg)
    return bits > _COARSE or (bits > 8 and any(map(_near_usual, gains)))


def _near_usual(gain: float) -> bool:
    """Whether one slip of a finger leads from the commonest gains to this one."""
    written = f"{gain:.10g}"
    return any(
        abs(gain - usual) < 0.02 * usual or _one_edit(written, f"{usual:g}")
        for usual in (200.0, 1000.0)
    )


def _one_edit(a: str, b: str) -> bool:
    if len(a) > len(b):
        a, b = b, a
    if len(b) - len(a) > 1:
        return False
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    return a[same + (len(a) == len(b)) :] == b[same + 1 :]


def _doubt_baselines(ecg: list[Encoding], gains: list[float], odd: list[Finding]) -> None:
    zeros = {encoding.zero or 0 for encoding in ecg}
    if any(encoding.baseline is None for encoding in ecg):
        middle = 1 << (ecg[0].resolution or BITS.get(ecg[0].format, 16)) - 1
        if len(zeros) > 1 or (len(ecg) == 1 and not zeros <= {0, middle}):
            odd.append(Finding("header-contradiction", detail=f"ADC zero {sorted(zeros)}"))
    shifts = {e.baseline - (e.zero or 0) for e in ecg if e.baseline is not None}
    if shifts in ({0}, set()) or not any(gain in _GAINS for gain in gains):
        return
    if len(ecg) == 1 or len(shifts) > 1:
        odd.append(
            Finding(
                "header-contradiction", detail=f"baseline off the ADC zero by {sorted(shifts)}"
            )
        )


def _doubt_leads(leads: tuple[str, ...], odd: list[Finding]) -> None:
    standard = [lead for lead in leads if lead in STANDARD]
    if len(leads) >= 12 and 8 < len(standard) < 12:
        missing = ", ".join(lead for lead in STANDARD if lead not in leads)
        odd.append(
            Finding("header-contradiction", detail=f"of the 12 leads only {missing} missing")
        )
    chest = [lead for lead in standard if lead in CHEST]
    limb = tuple(lead for lead in standard if lead in LIMB)
    if chest != sorted(chest) or (len(limb) == 6 and limb not in _LIMB_ORDERS):
        odd.append(
            Finding("header-contradiction", detail=f"leads in the order {', '.join(leads)}")
        )
    raw = [lead.removesuffix(" filtered") for lead in leads]
    if not set(raw) <= set(leads):
        odd.append(Finding("header-contradiction", detail="a filtered lead is not there raw"))


def of_range(filled: NDArray[np.float64], found: Layout) -> list[Finding]:
    """Doubt gains that only an automatic choice explains, where the range was not made use of."""
    used = filled if found.kept is None else filled[found.kept]
    if used.min() >= _FILLED:
        return []
    gains = ", ".join(f"{gain:g}" for gain in found.gain[:, 0])
    return [Finding("gain-unusual", detail=f"{gains} steps per mV")]


def of_signals(x: NDArray[np.float32], rate: float) -> list[Finding]:
    """Doubt gains and rates under which the signal would come from no heart."""
    odd = []
    heights = _heights(x, rate)
    typical = float(np.sort(heights)[len(heights) // 2])
    if typical and not _AMPLITUDES[0] <= typical <= _AMPLITUDES[1]:
        odd.append(Finding("amplitude-absurd", detail=f"{typical:.3g} mV in a typical second"))
    highest = np.argsort(heights)[: -_LEADS_TO_ASK - 1 : -1]
    paces = (_pace(x[lead, :_ENOUGH], rate) for lead in highest)
    if (pace := next(paces)) and all(other == pace for other in paces):
        odd.append(Finding("rate-implausible", detail=f"{pace} for {rate:g} Hz"))
    return odd


def _heights(x: NDArray[np.float32], rate: float) -> NDArray[np.float32]:
    """Return the height of a typical second of each lead in mV; 0 where it is flat."""
    leads, length = x.shape
    second = min(int(rate), length)
    seconds = x[:, : length // second * second].reshape(leads, -1, second)
    heights = seconds.max(2) - seconds.min(2)
    heights.sort(axis=1)
    middle: NDArray[np.float32] = heights[:, heights.shape[1] // 2]
    return middle


def _pace(x: NDArray[np.float32], rate: float) -> str:
    """Return "too slow" or "too fast" where no heart moves so, judging by its steepest 1 %.

    The limits are out of reach of every recording of PTB-XL, Challenge 2017 and ECG-ID, noise
    and wandering baselines included; a rate that is ten times off crosses them about every second
    time. They are closer where the rate itself is rare. Twice or half the rate of one person is
    the rate of another: that cannot be seen.
    """
    few = len(x) // 100
    values, steps = np.sort(x), np.sort(np.abs(np.diff(x)))
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


def _middle_frequency(x: NDArray[np.float32], rate: float) -> float:
    """Return where half of a signal's movement is slower and half is faster, mains hum aside."""
    power = np.abs(np.fft.rfft(x - x.mean())) ** 2
    frequency = np.arange(len(power)) * rate / len(x)
    for hum in (50, 60, 100, 120):
        power[np.abs(frequency - hum) < 2] = 0
    movement = np.cumsum(power * np.minimum(frequency, 10))  # fast waves are small, but they count
    return float(frequency[np.searchsorted(movement, movement[-1] / 2)])
