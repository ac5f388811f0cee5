"""What a file may claim: numbers that are numbers, rates and resolutions that ECG devices have."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from nerula.defects import Finding
from nerula.errors import refuse

_RATES = frozenset((
    25, 50, 62.4725, 62.5, 64, 75, 80, 90, 100, 120, 124.945, 125, 128, 130, 150, 160, 175, 180,
    200, 204.8, 240, 249.89, 250, 256, 257, 300, 320, 360, 400, 480, 499.78, 500, 512, 600, 640,
    720, 750, 800, 900, 960, 976.5625, 977, 978, 999.56, 1000, 1024, 1200, 1280, 2000, 2048, 2400,
    2500, 4000, 4096, 5000, 8000, 8192, 10000, 16000, 16384, 20000, 32000, 32768,
))  # fmt: skip
_DECIMAL = re.compile(r"[-+]?[0-9]{1,20}(?:\.[0-9]{0,20})?(?:[eE][-+]?[0-9]{1,3})?")
_NO_NUMBER = re.compile(r"(?:[-+]?(?:nan|inf|infinity))?", re.IGNORECASE)
_STEPS = (1e-7, 1.0)
"""mV per step, finest and coarsest: 24 bits over 2 mV, and 8 bits over 256 mV."""
_FARTHEST = 1e5
"""mV between the signal and its zero; electrodes drift by some hundred."""


def decimal(
    text: str, what: str, path: Path, code: str = "header-malformed", lead: str = ""
) -> float:
    """Read a number as programs write it, or refuse it: with `code` where it is NaN or missing."""
    if _DECIMAL.fullmatch(text):
        return float(text)
    odd = code if _NO_NUMBER.fullmatch(text) else "header-malformed"
    raise refuse(odd, path, f"{what} is {text[:40]!r}", lead)


def check_rate(rate: float, path: Path) -> tuple[Finding, ...]:
    """Refuse a rate that cannot be; return what is odd about one that can."""
    if rate <= 0:
        raise refuse("rate-zero", path, f"{rate:g} Hz")
    if not 1 <= rate <= 100_000:
        raise refuse("rate-absurd", path, f"{rate:g} Hz")
    return () if rate in _RATES else (Finding("rate-unusual", path, f"{rate:g} Hz"),)


def whole_rate(rate: float, doubt: float) -> float:
    """Return the one whole number of Hz within `rate` ± its relative doubt, else `rate` itself.

    Time steps are written with few digits: 0.00278 s is meant to be 360 Hz, not 359.7.
    """
    least, most = math.ceil(rate * (1 - doubt)), math.floor(rate * (1 + doubt))
    return float(least) if least == most else rate


def device_rate(rate: float, doubt: float) -> float:
    """Return the nearest rate that ECG devices have within `rate` ± its relative doubt."""
    near = [one for one in _RATES if abs(one / rate - 1) <= doubt]
    return float(min(near, key=lambda one: abs(one - rate))) if near else whole_rate(rate, doubt)


def check_scale(scale: Mapping[str, tuple[float, float]], path: Path) -> tuple[Finding, ...]:
    """Refuse scales (mV per step and mV at 0, by lead) that cannot be; return what is odd."""
    for lead, (step, zero) in scale.items():
        if not math.isfinite(step) or not math.isfinite(zero):
            raise refuse("gain-not-finite", path, lead=lead)
        if step == 0:
            raise refuse("gain-zero", path, lead=lead)
        if not _STEPS[0] <= abs(step) <= _STEPS[1]:
            raise refuse("gain-absurd", path, f"{step:g} mV per step", lead)
        if abs(zero) > _FARTHEST:
            raise refuse("gain-absurd", path, f"{zero:g} mV at zero", lead)
    upside_down = [lead for lead, (step, _) in scale.items() if step < 0]
    odd = [Finding("gain-unusual", path, "the signal is upside down", i) for i in upside_down]
    sizes = {abs(step) for step, _ in scale.values()}
    if sizes and max(sizes) > (1 + 1e-6) * min(sizes):
        spread = f"{min(sizes):g} to {max(sizes):g} mV per step"
        odd.append(Finding("gain-unusual", path, spread))
    return tuple(odd)
