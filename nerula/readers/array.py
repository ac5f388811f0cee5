"""NumPy arrays: `.npy`, memory-mapped, and `.npz`, whose other members say rate, leads and unit.

(time,), (leads, time) or (recordings, leads, time); where time comes first, its being longer
tells. In an `.npz` the signal is `x`, `signal` or `ecg`; `rate`, `leads`, `unit`, `valid`,
`subject`, `age` and `sex` are understood, the last three with one value or one per recording.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import UsageError, refuse
from nerula.readers import facts, npy, npz
from nerula.readers.doubts import doubted
from nerula.readers.files import head
from nerula.readers.identity import pseudonym
from nerula.readers.names import millivolts_per, name_leads
from nerula.readers.plausible import check_rate, decimal
from nerula.readers.source import NO_HINTS, Hints
from nerula.recording import Recording

_PER_ROW = ("subject", "age", "sex")
_TEXTS = ("rate", "leads", "unit", *_PER_ROW)
_MOST_LEADS = 64
"""Of two axes that are both longer, the first counts recordings."""


def rows(path: Path) -> int:
    """Return how many recordings a file holds."""
    return _rows(npz.shape(path) if _is_zip(path) else npy.parse(path).shape)


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,  # noqa: ARG001 - names no other file
    hints: Hints = NO_HINTS,
) -> Recording:
    """Read one recording of an array."""
    arrays = npz.arrays(path) if _is_zip(path) else {"signal": npy.mapped(path)}
    signal = arrays["signal"]
    count = _rows(signal.shape)
    if not 0 <= row < count:
        raise UsageError(f"{path} has no row {row}.")
    said = {key: _words(arrays[key], row, count, key, path) for key in _TEXTS if key in arrays}
    named = said.get("leads") or hints.leads
    raw = _oriented(signal, row, named, path)
    leads, findings = name_leads(named or [""] * raw.shape[0], path)
    if len(leads) != raw.shape[0]:
        detail = f"{len(leads)} leads named, {raw.shape[0]} held"
        raise refuse("header-malformed", path, detail)
    rate = _rate(said, hints, path)
    x, doubts = _millivolts(raw, _one(said, "unit", path) or hints.unit, path)
    valid = np.isfinite(x)
    if not valid.all():
        doubts.append(Finding("signal-nan", path, f"{np.count_nonzero(~valid)} samples"))
    if "valid" in arrays:
        valid &= _mask(arrays, row, named, path)
    x[~valid] = 0
    age, odd_age = facts.age(_one(said, "age", path), path)
    sex, odd_sex = facts.sex(_one(said, "sex", path), path)
    return doubted(
        Recording(
            name=f"{path.stem}#{row}" if count > 1 else path.stem,
            x=x,
            rate=rate,
            leads=leads,
            valid=valid,
            subject=pseudonym(_one(said, "subject", path)),
            age=age,
            sex=sex,
            path=path,
            findings=(*findings, *check_rate(rate, path), *doubts, *odd_age, *odd_sex),
        )
    )


def _is_zip(path: Path) -> bool:
    return head(path, 4)[0] == b"PK\x03\x04"


# --- what the numbers mean ---------------------------------------------------------------------


def _rows(shape: tuple[int, ...]) -> int:
    if len(shape) == 3:
        return shape[0]
    return shape[0] if len(shape) == 2 and min(shape) > _MOST_LEADS else 1


def _oriented(
    array: NDArray[Any], row: int, named: Sequence[str] | None, path: Path
) -> NDArray[Any]:
    """Return one recording as (leads, time)."""
    if array.dtype.kind not in "iufb" or not 1 <= array.ndim <= 3:
        raise refuse("format-unsupported", path, f"an array {array.shape} of {array.dtype}")
    if not array.size:
        raise refuse("length-zero", path)
    one = array[row] if array.ndim == 3 or _rows(array.shape) > 1 else array
    if one.ndim == 1:
        return one[None]
    count = len(named) if named else 0
    turned = one.shape[0] > one.shape[1]
    if count in one.shape and one.shape[0] != one.shape[1]:
        turned = one.shape[1] == count
    one = one.T if turned else one
    if one.shape[0] > _MOST_LEADS:
        raise refuse("format-malformed", path, f"{one.shape[0]} leads")
    return one


def _millivolts(
    raw: NDArray[Any], unit: str | None, path: Path
) -> tuple[NDArray[np.float32], list[Finding]]:
    if not unit and raw.dtype.kind != "f":
        raise refuse("unit-unknown", path, "whole numbers; give --source-unit")
    mv = millivolts_per(unit or "mV")
    if mv is None or raw.dtype.kind == "b":
        raise refuse("unit-unknown", path, repr(unit))
    with np.errstate(over="ignore", invalid="ignore"):
        x = (raw * np.float64(mv)).astype(np.float32)
    return x, [] if unit else [Finding("unit-missing", path)]


def _rate(said: dict[str, tuple[str, ...]], hints: Hints, path: Path) -> float:
    if "rate" not in said:
        if hints.rate is None:
            raise refuse("rate-missing", path, "give --source-rate")
        return float(hints.rate)
    return decimal(_one(said, "rate", path), "the rate", path, "rate-absurd")


def _mask(
    arrays: dict[str, NDArray[Any]], row: int, named: Sequence[str] | None, path: Path
) -> NDArray[np.bool_]:
    mask = arrays["valid"]
    if mask.shape != arrays["signal"].shape or mask.dtype.kind != "b":
        raise refuse("format-malformed", path, "`valid` does not say which samples are")
    return _oriented(mask, row, named, path)


def _words(array: NDArray[Any], row: int, count: int, key: str, path: Path) -> tuple[str, ...]:
    """Return a small member as text; of one value per recording, this one's."""
    if array.size > max(count, _MOST_LEADS):
        raise refuse("format-malformed", path, f"{array.size} values of {key}")
    try:
        values = array.reshape(-1).tolist()
    except ValueError as error:  # text that is no Unicode
        raise refuse("format-malformed", path, f"{key} cannot be read") from error
    words = tuple(v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in values)
    return words[row : row + 1] if key in _PER_ROW and len(words) == count else words


def _one(said: dict[str, tuple[str, ...]], key: str, path: Path) -> str:
    words = said.get(key, ("",))
    if len(words) != 1:
        raise refuse("format-malformed", path, f"{len(words)} values of {key}")
    return words[0]
