"""Given: the arrays that a caller hands to a model, as recordings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, refuse
from nerula.readers.names import STANDARD, canonical_lead, millivolts_per
from nerula.recording import Recording

Array = NDArray[np.float32]


def one(
    what: str,
    signal: Any,
    rate: float,
    *,
    lead: str,
    unit: str,
    valid: Any,
    leads: Sequence[str] | None,
) -> Recording:
    """The one recording that was given; `what` says who wants no more."""
    found, many = recordings(signal, rate, lead=lead, unit=unit, valid=valid, leads=leads)
    if many:
        raise UsageError(f"{what} takes one recording at a time.")
    return found[0]


def recordings(
    signal: Any, rate: float, *, lead: str, unit: str, valid: Any, leads: Sequence[str] | None
) -> tuple[list[Recording], bool]:
    """What was given, as recordings in mV; and whether it was many or one."""
    scale, names = millivolts(unit), _names([lead] if leads is None else leads)
    if not (isinstance(rate, float | int | np.number) and 1 <= rate <= 100_000):
        raise refuse("rate-absurd", detail=f"{rate!r} Hz")
    if isinstance(signal, list | tuple) and len(signal) and np.ndim(signal[0]):
        arrays, many = [np.asarray(one, np.float32) for one in signal], True
    else:
        array = np.asarray(signal, np.float32)
        many = array.ndim > (1 if leads is None else 2)
        arrays = list(array) if many else [array]
    if not arrays:
        raise UsageError("There is no recording.")
    masks = [None] * len(arrays) if valid is None else list(valid) if many else [valid]
    if len(masks) != len(arrays):
        raise UsageError(f"{len(arrays)} signals with {len(masks)} masks of validity.")
    return [
        _recording(str(number), array * scale, mask, float(rate), names)
        for number, (array, mask) in enumerate(zip(arrays, masks, strict=True))
    ], many


def _recording(name: str, x: Array, valid: Any, rate: float, leads: tuple[str, ...]) -> Recording:
    measured = np.isfinite(x)
    if valid is not None:
        valid = np.asarray(valid)
        if valid.shape != x.shape or valid.dtype != np.bool_:
            raise UsageError(
                f"valid must be bool of shape {x.shape}, not {valid.dtype} {valid.shape}."
            )
        measured &= valid
    x, measured = np.atleast_2d(x), np.atleast_2d(measured)
    if x.ndim != 2 or len(x) != len(leads):
        raise UsageError(
            f"A signal of shape {x.shape} with {len(leads)} leads ({', '.join(leads)}).",
            "Give one lead as (time,), several as (leads, time) with leads=[...] naming the rows.",
        )
    return Recording(name, np.where(measured, x, np.float32(0)), rate, leads, measured)


def millivolts(unit: str) -> np.float32:
    """What one of a unit is in mV."""
    if (scale := millivolts_per(unit)) is None:
        raise refuse("unit-unknown", detail=unit)
    return np.float32(scale)


def _names(leads: Sequence[str]) -> tuple[str, ...]:
    known = {lead: canonical_lead(lead) for lead in leads}
    for lead, name in known.items():
        if name is None:
            raise UsageError(
                f"There is no lead {lead!r}.",
                f"Known are {', '.join(STANDARD)}, MLII and others; for a patch or a chest strap "
                "give the lead that it resembles.",
            )
    return tuple(name for name in known.values() if name)
