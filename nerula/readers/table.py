"""CSV and its relatives: a column per lead, times or a rate, and a header that names them.

# rate: 250
time_s,Lead II (mV),V1 [uV]
0.000,0.12,-34
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import UsageError, refuse
from nerula.readers import facts, table_text
from nerula.readers.doubts import doubted
from nerula.readers.files import load
from nerula.readers.identity import pseudonym
from nerula.readers.names import canonical_lead, millivolts_per, name_leads
from nerula.readers.plausible import check_rate, decimal, whole_rate
from nerula.readers.source import NO_HINTS, Hints
from nerula.readers.table_text import Table
from nerula.recording import Recording

LIMIT = 512 << 20
"""Bytes of a file; numbers as text take ten times the space, so that this is a day of one lead."""
_MOST_GAPS = 16
"""Gaps may be this many times longer than what was measured, and no more."""
_LATEST = 1e12
"""Seconds; Unix times are below by far."""
_SLOWEST = 20.0
"""Hz; no ECG is slower, but counted samples are, and milliseconds, if they pass for seconds."""

_BRACKETS = re.compile(r"(.*?)\s*[\[(]\s*([^\[\]()]{1,16}?)\s*[\])]")
_SUFFIX = re.compile(r"(.+?)[\s_]+([^\W\d_]{1,12})")
_RATE = re.compile(
    r"([0-9.,eE+-]+)\s*(?:hz|hertz|sps|1/s|samples?/s(?:ec|econd)?)?", re.IGNORECASE
)
_WHOLE = re.compile(r"\d+(?:[.,]0*)?")
_SECONDS = {
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0,
    "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "us": 1e-6, "µs": 1e-6, "microseconds": 1e-6, "ns": 1e-9, "hh:mm:ss.mmm": 1.0,
}  # fmt: skip
_TIMES = frozenset(("time", "t", "timestamp", "timestamps", "elapsed", "elapsed time", "datetime"))
_COUNTERS = frozenset((
    "", "#", "n", "no", "index", "idx", "sample", "samples", "sample #", "row", "seq", "sequence",
    "sequence number", "counter",
))  # fmt: skip
_ANY_SIGNAL = frozenset(("signal", "value", "values", "voltage", "amplitude", "data"))


class Column(NamedTuple):
    """One column of the table, understood. `kind` is time, counter, lead or other."""

    place: int
    kind: str
    name: str
    unit: str


def read(
    path: Path,
    row: int = 0,
    *,
    root: Path | None = None,  # noqa: ARG001 - names no other file
    hints: Hints = NO_HINTS,
) -> Recording:
    """Read one table."""
    if row:
        raise UsageError(f"{path} holds one recording; there is no row {row}.")
    table = table_text.parse(load(path, LIMIT), path)
    columns = understood(table, hints, path)
    signals = [column for column in columns if column.kind == "lead"]
    clock = _clock(columns, table)
    places = [column.place for column in (*signals, *([clock] if clock else []))]
    dated = clock.place if clock and clock.kind == "time" else None
    numbers = table_text.numbers(table, places, dated, path)
    leads, findings = name_leads([column.name for column in signals], path)
    x = np.empty((len(signals), numbers.shape[1]), np.float32)
    valid = np.empty(x.shape, np.bool_)
    doubts: list[Finding] = []
    for i, (column, lead) in enumerate(zip(signals, leads, strict=True)):
        unit = column.unit or table.settings.get("unit") or hints.unit or ""
        x[i], valid[i], odd = _millivolts(numbers[i], unit, lead, path)
        doubts += odd
    rate, slots, timed = _timed(table, hints, clock, numbers[-1], path)
    if slots is not None and slots[-1] >= len(slots):
        x, valid = _spread(x, slots), _spread(valid, slots)
    others = [column.name for column in columns if column.kind == "other"]
    if others:
        doubts.append(Finding("signals-left-out", path, f"{len(others)} columns"))
    age, odd_age = facts.age(table.settings.get("age", ""), path)
    sex, odd_sex = facts.sex(table.settings.get("sex", ""), path)
    return doubted(
        Recording(
            name=path.stem,
            x=x,
            rate=rate,
            leads=leads,
            valid=valid,
            subject=pseudonym(table.settings.get("subject", "")),
            age=age,
            sex=sex,
            path=path,
            findings=(*table.findings, *findings, *doubts, *timed, *odd_age, *odd_sex),
            removed=tuple(table.removed),
        )
    )


# --- columns -----------------------------------------------------------------------------------


def understood(table: Table, hints: Hints, path: Path) -> list[Column]:
    """Understand the header; where there is none, the user or a comment must name the leads."""
    named = hints.leads or _said_leads(table)
    width = len(table.first)
    if table.header is None:
        if named is None and width > 1:
            detail = "no header names the columns; give --source-leads"
            raise refuse("header-malformed", path, detail)
        named = named or ("",)
        if width - len(named) not in (0, 1):
            raise refuse("header-malformed", path, f"{len(named)} leads for {width} columns")
        time = [Column(0, "time", "time", "")] * (width - len(named))
        return time + [Column(width - len(named) + i, "lead", n, "") for i, n in enumerate(named)]
    units = table.units or [""] * width
    columns = [
        _column(place, title, unit, path)
        for place, (title, unit) in enumerate(zip(table.header, units, strict=True))
    ]
    times = [column for column in columns if column.kind == "time"][1:]
    columns = [c._replace(kind="other") if c in times else c for c in columns]
    found = [column for column in columns if column.kind == "lead"]
    if not found:  # names that nobody knows are kept rather than nothing
        columns = [c._replace(kind="lead") if c.kind == "other" else c for c in columns]
        found = [column for column in columns if column.kind == "lead"]
    if not found:
        raise refuse("ecg-missing", path, "no column is a lead")
    known = any(_is_sure(canonical_lead(column.name)) for column in found)
    if named is None or known:  # what the header says is not overruled
        return columns
    if len(named) != len(found):
        detail = f"{len(named)} leads named, {len(found)} columns"
        raise refuse("header-malformed", path, detail)
    names = dict(zip([column.place for column in found], named, strict=True))
    return [column._replace(name=names.get(column.place, column.name)) for column in columns]


def _clock(columns: list[Column], table: Table) -> Column | None:
    """Return the column that places the rows: times, or else numbers."""
    times = [column for column in columns if column.kind == "time"]
    counters = [column for column in columns if column.kind == "counter"]
    whole = [column for column in counters if _WHOLE.fullmatch(table.first[column.place].strip())]
    return next(iter(times + whole), None)


def _is_sure(lead: str | None) -> bool:
    """Whether a name says which lead it is; "ECG" does not."""
    return lead is not None and not lead.startswith("ECG")


def _said_leads(table: Table) -> tuple[str, ...] | None:
    said = re.split("[,;]", table.settings.get("leads", ""))
    return tuple(name.strip() for name in said if name.strip()) or None


def _column(place: int, title: str, unit: str, path: Path) -> Column:
    """Understand one title: `Lead II (mV)`, `ecg_ii`, `V1 [uV]`, `time_ms`, `ms`."""
    name, said = title, ""
    for pattern in (_BRACKETS, _SUFFIX):
        match = pattern.fullmatch(title)
        if match and (millivolts_per(match[2]) or match[2].lower() in _SECONDS):
            name, said = match.groups()
            break
    word = name.lower().replace("_", " ").strip()
    if word in _SECONDS and not said:
        return Column(place, "time", title, word)
    if word in _TIMES:
        return Column(place, "time", title, said or unit)
    if millivolts_per(word) and not said:
        return Column(place, "lead", "ECG", word)
    if canonical_lead(name) or word in _ANY_SIGNAL:
        return Column(place, "lead", canonical_lead(name) or "ECG", said or unit)
    if word in _COUNTERS:
        return Column(place, "counter", title, "")
    if (match := _BRACKETS.fullmatch(title)) and canonical_lead(match[1]):
        raise refuse("unit-unknown", path, repr(match[2]), canonical_lead(match[1]) or "")
    return Column(place, "other", title, unit)


# --- volts and seconds -------------------------------------------------------------------------


def _millivolts(
    numbers: NDArray[np.float64], unit: str, lead: str, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[Finding]]:
    """Return one lead in mV, where it is valid, and what is odd about it."""
    findings = []
    finite = numbers[np.isfinite(numbers)]
    if not unit and finite.any() and not (finite % 1).any():
        raise refuse("unit-unknown", path, "whole numbers; give --source-unit", lead)
    if not unit:
        findings.append(Finding("unit-missing", path, lead=lead))
    mv = millivolts_per(unit or "mV")
    if mv is None:
        raise refuse("unit-unknown", path, repr(unit[:20]), lead)
    with np.errstate(over="ignore"):
        x = (numbers * mv).astype(np.float32)
    valid = np.isfinite(x)
    if missing := valid.size - np.count_nonzero(valid):
        findings.append(Finding("signal-nan", path, f"{missing} samples", lead))
    x[~valid] = 0
    return x, valid, findings


def _timed(
    table: Table, hints: Hints, clock: Column | None, read: NDArray[np.float64], path: Path
) -> tuple[float, NDArray[np.int64] | None, list[Finding]]:
    """Return the rate, each row's place where times or numbers tell it, and what is odd."""
    said = said_rate(table, path)
    if clock is not None and clock.kind == "time":
        rate, places = _regular(read * seconds_per(clock.unit, read[0], path), path)
        if not clock.unit and 1 <= rate < _SLOWEST:
            detail = f"{rate:g} Hz if the times are seconds; say what they are, as in time_ms"
            raise refuse("rate-missing", path, detail)
        findings = list(check_rate(rate, path))
        if said is not None and abs(said / rate - 1) > 0.01:
            detail = f"the times say {rate:g} Hz, a comment says {said:g} Hz"
            findings.append(Finding("header-contradiction", path, detail))
    else:
        given = said if said is not None else hints.rate
        if given is None:
            detail = "no column of times and no line `# rate: 250`; give --source-rate"
            raise refuse("rate-missing", path, detail)
        rate, findings = float(given), list(check_rate(given, path))
        counted = _counted(read) if clock is not None else None
        if counted is None:
            return rate, None, findings
        places = counted
    if missing := int(places[-1]) + 1 - len(places):
        if missing > _MOST_GAPS * len(places):
            raise refuse("size-absurd", path, f"gaps of {missing / rate:.0f} s")
        findings.append(Finding("time-gap", path, f"{missing / rate:g} s"))
    return rate, places, findings


def _counted(numbers: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """Return each row's place by its number; None where they do not count rows up.

    Numbers that repeat or begin again count something else: packets, beats, files put together.
    """
    if numbers.size < 2 or not (np.abs(numbers) < _LATEST).all() or (numbers % 1).any():
        return None
    steps = np.diff(numbers)
    typical = float(np.median(steps))  # two, where somebody kept every second row
    if typical < 1 or steps.min() < typical or (steps % typical).any():
        return None
    return np.concatenate([[0], np.cumsum(steps / typical)]).astype(np.int64)


def _spread(rows: NDArray[Any], places: NDArray[np.int64]) -> NDArray[Any]:
    """Put each sample at its place; what lies between is 0, or False."""
    spread = np.zeros((rows.shape[0], int(places[-1]) + 1), rows.dtype)
    spread[:, places] = rows
    return spread


def said_rate(table: Table, path: Path) -> float | None:
    """Return the rate that a line above the numbers says."""
    text = table.settings.get("rate")
    if text is None:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise refuse("header-malformed", path, f"the rate is {text[:40]!r}")
    return decimal(match[1].replace(",", "."), "the rate", path, "rate-missing")


def seconds_per(unit: str, start: float, path: Path) -> float:
    """Return how many seconds one unit of the times is; Unix times tell by their size."""
    if unit:
        if unit.lower() not in _SECONDS:
            raise refuse("rate-missing", path, f"times in {unit[:20]!r}")
        return _SECONDS[unit.lower()]
    scales = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
    return next((scale for least, scale in scales if start > least), 1.0)


def _regular(times: NDArray[np.float64], path: Path) -> tuple[float, NDArray[np.int64]]:
    """Return the rate and each row's place; times may jitter by half a step, and have gaps."""
    if times.size < 2 or not (np.abs(times) < _LATEST).all():  # NaN neither
        raise refuse("rate-missing", path, "times that are missing or cannot be")
    steps = np.diff(times)
    typical = float(np.median(steps))
    if typical <= 0 or steps.min() < typical / 2:
        detail = "times that do not go forward step by step; drop them and give --source-rate"
        raise refuse("format-malformed", path, detail)
    whole = steps[steps <= 1.5 * typical]
    length = float(whole.sum())
    step = length / whole.size
    doubt = (float(np.abs(whole - step).max()) + 1e-9 * length) / length
    rate = whole_rate(1 / step, min(doubt, 0.01))
    rows = np.where(steps > 1.5 * typical, np.rint(np.minimum(steps * rate, 1e12)), 1)
    return rate, np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
