"""What a WFDB header says twice, and whether it says the same both times.

A header has no checksum of its own: `1000` can become `100` and still be a header. But leads agree
with each other, devices have their gains, and writers have their habits; where a statement fits
none of them, it is doubted aloud. Nothing here changes what is read. `doubts` asks the signal.
"""

import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers.names import CHEST, LIMB, STANDARD, canonical_lead, millivolts_per, name_leads
from nerula.readers.wfdb_header import Described, Encoding
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
_COUNTS = frozenset(("NU", "nu", "adu"))
"""Units of signals that nobody calibrated, ECG or not."""
_NOT_ECG_UNITS = _COUNTS | frozenset(
    (
        "mmHg", "cmH2O", "kPa", "Pa", "bpm", "BPM", "/min", "pm", "%",
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
    is_rare: bool
    """Our own reader leaves the bytes of some signal to the `wfdb` package."""
    findings: tuple[Finding, ...]


@lru_cache(maxsize=1024)
def layout(described: Described) -> Layout:
    """Interpret the signal lines of a header: leads, gains, baselines, and what is odd."""
    encodings = described.encodings
    kept = [number for number, encoding in enumerate(encodings) if _is_ecg(encoding)]
    if not kept:
        for encoding in encodings:
            if encoding.unit in _COUNTS and canonical_lead(encoding.description):
                detail = f"{encoding.unit!r}; write steps per mV into the header"
                raise refuse("unit-unknown", detail=detail, lead=encoding.description)
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
        any(e.format not in BITS or e.samples_per_frame > 1 or e.skew for e in encodings),
        tuple(odd),
    )


@lru_cache(maxsize=1024)
def same_form(described: Described, first: int, last: int) -> tuple[int, int] | None:
    """Return format and offset that signals `first` to `last` share; None where they do not."""
    forms = {(e.format, e.offset) for e in described.encodings[first:last]}
    return forms.pop() if len(forms) == 1 else None


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
