"""Given: the arrays that a caller hands to a model, as recordings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, refuse
from nerula.readers.doubts import heights
from nerula.readers.names import STANDARD, canonical_lead, millivolts_per
from nerula.recording import Recording

Array = NDArray[np.float32]
POSSIBLE = 100.0
"""mV that a typical second may span at most. Beyond, the unit or the gain is wrong: microvolts
taken for millivolts span a thousand. What is too small is flat, as it is without electrodes."""
_FEW = 16
"""Samples that are no recording, at any rate: more likely leads, or one column."""


def one(
    what: str,
    signal: Any,
    rate: float,
    *,
    lead: str,
    unit: str,
    valid: Any,
    leads: Sequence[str] | None,
    doubted: bool = True,
) -> Recording:
    """The one recording that was given; `what` says who wants no more."""
    found, _ = recordings(
        signal, rate, lead=lead, unit=unit, valid=valid, leads=leads, doubted=doubted
    )
    if len(found) > 1:
        raise UsageError(
            f"{what} takes one recording at a time, not {len(found)}.",
            "Several leads of one are (leads, time), with leads=[...] naming the rows.",
        )
    return found[0]


def recordings(
    signal: Any,
    rate: float,
    *,
    lead: str,
    unit: str,
    valid: Any,
    leads: Sequence[str] | None,
    doubted: bool = True,
) -> tuple[list[Recording], bool]:
    """What was given, as recordings in mV; and whether it was many or one.

    Unless they are not `doubted`, numbers that cannot be in that unit are refused.
    """
    scale, names = millivolts(unit), _names([lead] if leads is None else leads)
    if not (isinstance(rate, float | int | np.number) and 1 <= rate <= 100_000):
        raise UsageError(
            f"rate={rate!r} is no sampling rate.", "Give samples per second, from 1 to 100,000."
        )
    if isinstance(signal, list | tuple) and len(signal) and np.ndim(signal[0]):
        arrays, many = [_numbers(one) for one in signal], True
    else:
        array = _numbers(signal)
        many = array.ndim > (1 if leads is None else 2)
        if many and array.ndim == 2 and array.shape[1] < _FEW < len(array):
            raise UsageError(
                f"{len(array)} recordings of {array.shape[1]} samples each.",
                "Where it is (time, leads), give signal.T, with leads=[...] naming its rows.",
            )
        arrays = list(array) if many else [array]
    if not arrays:
        raise UsageError("There is no recording.")
    masks = [None] * len(arrays) if valid is None else list(valid) if many else [valid]
    if len(masks) != len(arrays):
        raise UsageError(f"{len(arrays)} signals with {len(masks)} masks of validity.")
    found = [
        _recording(f"signal[{number}]" if many else "", array * scale, mask, float(rate), names)
        for number, (array, mask) in enumerate(zip(arrays, masks, strict=True))
    ]
    if doubted:
        for one in found:
            _doubt(one, unit)
    return found, many


def _numbers(signal: Any) -> Array:
    """An array of what was given; what a masked array hides is NaN."""
    try:
        if isinstance(signal, np.ma.MaskedArray):
            signal = np.ma.filled(signal.astype(np.float32), np.nan)
        if not np.iscomplexobj(signal):
            return np.asarray(signal, np.float32)
        why = "they are complex"
    except (TypeError, ValueError, RuntimeError) as error:
        why = str(error).rstrip(".")
    raise UsageError(
        f"What was given cannot be read as numbers: {why}.",
        "Give an array or a list of them; of files, nerula embed.",
    )


def _doubt(one: Recording, unit: str) -> None:
    """Refuse a recording that no heart has written, if its numbers are in that unit."""
    measured = one.x[:, one.valid.all(axis=0)]
    if measured.shape[1] < one.rate:
        return
    height = float(np.median(heights(measured, one.rate)))
    if height > POSSIBLE:
        which = f" of {one.name}" if one.name else ""
        raise UsageError(
            f"A typical second{which} spans {height:.3g} mV if the numbers are in {unit}.",
            'Say what they are in, such as unit="uV"; counts of a converter, divide by its gain.',
        )


def _recording(name: str, x: Array, valid: Any, rate: float, leads: tuple[str, ...]) -> Recording:
    """`name` says which of many; what is refused then begins with it, as with a file's path."""
    measured = np.isfinite(x)
    if valid is not None:
        valid = np.asarray(valid)
        if valid.shape != x.shape or valid.dtype != np.bool_:
            raise UsageError(
                f"valid must be bool of shape {x.shape}, not {valid.dtype} {valid.shape}."
            )
        measured &= valid
    if x.ndim == 0:
        raise UsageError("One number is no signal.", "Give an array (time,).")
    x, measured = np.atleast_2d(x), np.atleast_2d(measured)
    if x.ndim != 2 or len(x) != len(leads):
        raise UsageError(
            f"A signal of shape {x.shape} with {len(leads)} leads ({', '.join(leads)}).",
            "It seems to be (time, leads): give signal.T."
            if x.ndim == 2 and x.shape[1] == len(leads)
            else "Give one lead as (time,), several as (leads, time) with leads=[...] naming "
            "the rows.",
        )
    path = Path(name) if name else None
    return Recording(name, np.where(measured, x, np.float32(0)), rate, leads, measured, path=path)


def with_leads(recording: Recording, leads: Sequence[str]) -> Recording:
    """A recording with all leads of a model of several, in its order, and then what else it holds.

    Those that it lacks are there afterwards, invalid throughout.
    """
    if len(leads) == 1:
        raise UsageError(
            f"The model knows lead {leads[0]} alone: it cannot make up others.",
            "Filling all leads takes a model of several.",
        )
    every = (*leads, *(lead for lead in recording.leads if lead not in leads))
    rows = [every.index(lead) for lead in recording.leads]
    x = np.zeros((len(every), recording.x.shape[1]), np.float32)
    valid = np.zeros(x.shape, np.bool_)
    x[rows], valid[rows] = recording.x, recording.valid
    return recording.but(x=x, valid=valid, leads=every)


def millivolts(unit: str) -> np.float32:
    """What one of a unit is in mV."""
    if not isinstance(unit, str) or (scale := millivolts_per(unit)) is None:
        raise refuse("unit-unknown", detail=f"{unit!r}")
    return np.float32(scale)


def _names(leads: Sequence[str]) -> tuple[str, ...]:
    if isinstance(leads, str):
        leads = leads.replace(",", " ").split()
    names: list[str] = []
    for lead in leads:
        name = canonical_lead(lead) if isinstance(lead, str) else None
        if name is None:
            raise UsageError(
                f"There is no lead {lead!r}.",
                f"Known are {', '.join(STANDARD)}, MLII and others; for a patch or a chest strap "
                "give the lead that it resembles.",
            )
        if name in names:
            raise UsageError(f"Two leads have the name {name}.", "Name each row once.")
        names.append(name)
    return tuple(names)
