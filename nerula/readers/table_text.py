"""The text of a table: its encoding, what stands above the numbers, separators, numbers."""

import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.defects import Finding
from nerula.errors import refuse

_MOST_LINES = 256
"""Lines that may stand above the first number."""
_SEPARATORS = ("\t", ";", ",", None)  # None: any white space
_NUMBER = re.compile(r"[-+]?(?:[0-9]+[.,]?[0-9]*|[.,][0-9]+)(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_MISSING = re.compile(r"(?:[-+]?nan|n/?a|null|none|[-+]?inf|--?)?", re.IGNORECASE)
_CLOCK = re.compile(r"(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,2}(?:\.[0-9]{1,9})?)", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+(?:Z|[-+][0-9:]+)?", re.ASCII)
_QUOTED = re.compile(r'"([-+]?[0-9]+),([0-9]+)"')
_PAIR = re.compile(r"\s*([^\W\d_][\w .#()/-]{0,39}?)\s*[:=]\s*(.+?)\s*")

SETTINGS = {
    "rate": "rate", "sample rate": "rate", "sampling rate": "rate", "samplerate": "rate",
    "sampling frequency": "rate", "sample frequency": "rate", "frequency": "rate", "fs": "rate",
    "unit": "unit", "units": "unit", "lead": "leads", "leads": "leads", "channels": "leads",
    "subject": "subject", "subject id": "subject", "patient": "subject", "patient id": "subject",
    "age": "age", "sex": "sex", "gender": "sex",
}  # fmt: skip
_PERSONAL = frozenset((
    "name", "date of birth", "recorded date", "date", "time of recording", "classification",
    "symptoms", "device", "software version", "serial number", "comment", "notes",
))  # fmt: skip


class Table(NamedTuple):
    """A table before its numbers are read."""

    settings: dict[str, str]
    header: list[str] | None
    units: list[str] | None
    first: list[str]
    """The cells of the first row of numbers."""
    separator: str | None
    body: str
    findings: list[Finding]
    removed: list[str]


def parse(data: bytes, path: Path) -> Table:
    """Read everything above the numbers, and find out how cells are separated."""
    text, findings = _decoded(data, path)
    settings: dict[str, str] = {}
    titles: list[str] = []
    removed: list[str] = []
    at, line = _above(text, settings, titles, removed, path)
    separator = _separator(line, titles[0] if titles else None, path)
    rows = [_cells(title, separator) for title in titles]
    if len({len(row) for row in rows}) > 1:
        raise refuse("header-malformed", path, "the lines above the numbers differ in width")
    header, units = [*rows, None, None][:2]
    if units and any(map(str.isdigit, "".join(units))):
        raise refuse("header-malformed", path, "a line above the numbers has broken numbers")
    if not text.endswith("\n"):
        findings.append(Finding("data-cut", path))
    first = _cells(line, separator)
    return Table(settings, header, units, first, separator, text[at:], findings, removed)


def _above(
    text: str, settings: dict[str, str], titles: list[str], removed: list[str], path: Path
) -> tuple[int, str]:
    """Sort the lines above the numbers; return where the first row of them is, and that row."""
    commented = ""
    at = 0
    for _ in range(_MOST_LINES):
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)].strip(" \r")
        if _is_data(line):
            break
        if end < 0:
            raise refuse("length-zero", path, "no row of numbers")
        at = end + 1
        comment = line.startswith(("#", "%"))
        if said := _setting(line.lstrip("#% "), comment):
            key, value = said
            if key in SETTINGS.values():
                settings[key] = value
            else:
                removed.append(key)
        elif comment:
            commented = line.lstrip("#% ")
        elif line:
            titles.append(line)
    else:
        raise refuse("header-malformed", path, f"no numbers in the first {_MOST_LINES} lines")
    if not titles and commented:
        titles.append(commented)
    if len(titles) > 2:
        raise refuse("header-malformed", path, f"{len(titles)} lines above the numbers")
    return at, line


def _decoded(data: bytes, path: Path) -> tuple[str, list[Finding]]:
    findings = []
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = data.decode("utf-16")
        else:
            text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        findings.append(Finding("header-encoding", path))
    if "\0" in text:
        raise refuse("format-malformed", path, "it is not text")
    text = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
    return _QUOTED.sub(r"\1.\2", text) if '"' in text else text, findings


def _setting(line: str, comment: bool) -> tuple[str, str] | None:
    """Read `rate: 250`, `Sample Rate,512 hertz`, or a line that names a person."""
    if match := _PAIR.fullmatch(line):
        key, value = match.groups()
    else:
        parts = next((p for s in ",;\t" if len(p := line.split(s, 1)) == 2), ["", ""])
        key, value = (part.strip(" \"'") for part in parts)
    word = " ".join(key.lower().replace("_", " ").split())
    if word in SETTINGS and value:
        return SETTINGS[word], value
    if word in _PERSONAL or (comment and match):
        return word, value
    return None


# --- cells -------------------------------------------------------------------------------------


def _cells(line: str, separator: str | None) -> list[str]:
    if separator == "":  # one column
        return [line.strip(" \"'")]
    return [cell.strip(" \"'") for cell in line.split(separator)]


def is_time(cell: str) -> bool:
    """Whether a cell is a clock time or a date with a time."""
    return bool(_CLOCK.fullmatch(cell) or _DAY.fullmatch(cell))


def _is_value(cell: str) -> bool:
    return bool(_NUMBER.fullmatch(cell) or is_time(cell))


def _is_data(line: str) -> bool:
    """Whether a line is a row of numbers: its first cell that holds something is one."""
    if line.startswith(("#", "%")):
        return False
    for separator in ("", *_SEPARATORS):
        cells = [cell for cell in _cells(line, separator) if not _MISSING.fullmatch(cell)]
        if cells and _is_value(cells[0]):
            return True
    return False


def _separator(line: str, header: str | None, path: Path) -> str | None:
    """Return what separates the cells; "" where there is one column."""
    for separator in _SEPARATORS:
        cells = _cells(line, separator)
        numbers = all(_is_value(cell) or _MISSING.fullmatch(cell) for cell in cells)
        if header is None and len(cells) > 1 and numbers:
            return separator
        if header is not None and len(cells) == len(_cells(header, separator)) > 1:
            return separator
    if not _is_value(_cells(line, "")[0]):
        raise refuse("header-malformed", path, "the header and the numbers differ in width")
    return ""


# --- numbers -----------------------------------------------------------------------------------


def numbers(
    table: Table, columns: list[int], times: int | None, path: Path
) -> NDArray[np.float64]:
    """Return the chosen columns (columns, rows); cells that hold nothing are NaN."""
    body = table.body.strip("\n").replace('"', "").replace("'", "")
    if table.separator != ",":  # a comma that separates no cells is a decimal point
        body = body.replace(",", ".")
    mark, width = table.separator, len(table.first)
    if mark and any(line.count(mark) != width - 1 for line in io.StringIO(body) if line.strip()):
        raise refuse("format-malformed", path, f"a row that has not {width} cells")
    clock: dict[int | str, Callable[[str], float]] = {}
    if times is not None and is_time(table.first[times]):
        clock[times] = seconds
    try:
        if mark == "" and "\n\n" in body:  # an empty row of one column is an empty cell
            body = _filled(body, mark)
        try:
            every = _loaded(body, mark, columns, width, clock)
        except ValueError:  # most tables have no empty cells: these are looked for last
            every = _loaded(_filled(body, mark), mark, columns, width, clock)
    except ValueError as error:
        raise refuse("format-malformed", path, "a row that is not all numbers") from error
    return every[columns] if len(columns) == width else every


def _loaded(
    body: str,
    mark: str | None,
    columns: list[int],
    width: int,
    clock: dict[int | str, Callable[[str], float]],
) -> NDArray[np.float64]:
    return np.loadtxt(
        io.StringIO(body),
        dtype=np.float64,
        comments=None,
        delimiter=mark or None,
        converters=clock or None,
        usecols=None if len(columns) == width else columns,
        unpack=True,
        ndmin=2,
    )


def _filled(body: str, separator: str | None) -> str:
    """Write `nan` where a cell is empty or says that it is; drop empty rows of several columns."""
    if separator is None:
        return re.sub(r"(?im)(?<!\S)(?:n/?a|null|none|--?)(?!\S)", "nan", body)
    if separator:
        body = re.sub(r"\n[ \t\r]*(?=\n)", "", body)
    edge = re.escape(separator) if separator else "(?!)"
    return re.sub(rf"(?im)(^|{edge})[ ]*(?:n/?a|null|none|--?)?[ ]*(?={edge}|$)", r"\1nan", body)


def seconds(cell: str) -> float:
    """Return the seconds that a clock time or a date is."""
    if match := _CLOCK.fullmatch(cell):
        hours, minutes, rest = match.groups()
        return int(hours or 0) * 3600 + int(minutes) * 60 + float(rest)
    moment = datetime.fromisoformat(cell)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
