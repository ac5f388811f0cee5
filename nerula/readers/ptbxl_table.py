"""`ptbxl_database.csv`: who was recorded, what the statements say, and in which fold it is.

Cells are kept as text (21,799 rows take 10 MB) and understood when their recording is read, so
that one bad cell costs one recording. What is wrong with the table itself ends the run: whoever
trains on shifted folds or subjects never notices.
"""

import csv
import io
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from nerula.defects import Finding
from nerula.errors import refuse
from nerula.readers import facts
from nerula.readers.files import load

LIMIT = 256 << 20
"""Bytes of a table; the official one has 6.6 MB."""

COLUMNS = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold")
_STATEMENT = r"'([A-Z0-9_/()]{1,16})': (\d{1,3}(?:\.\d{1,6})?)"
_STATEMENTS = re.compile(rf"\{{(?:{_STATEMENT}(?:, {_STATEMENT})*)?\}}")
_ONE = re.compile(_STATEMENT)
_WHOLE = re.compile(r"(\d{1,9})(?:\.0)?")


class Row(NamedTuple):
    """One row, its cells still text."""

    ecg_id: str
    subject: str
    age: str
    sex: str
    statements: str
    fold: str


class Facts(NamedTuple):
    """One row, understood."""

    subject: str | None
    age: float | None
    sex: str | None
    labels: dict[str, float]
    fold: str
    findings: tuple[Finding, ...]


def rows(path: Path, key: str = "ecg_id") -> dict[str, Row]:
    """Read the table; its rows by their cell in the column `key`."""
    found: dict[str, Row] = {}
    for line, cells in _lines(path, (*COLUMNS, key)):
        name = cells.pop()
        if not name or name in found:
            raise refuse("table-malformed", path, f"line {line}: {key} {name!r} is empty or twice")
        found[name] = Row(*cells)
    return found


def _lines(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Yield each row's line number and its cells of `columns`."""
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        names = [name.strip() for name in next(reader, [])]
        if lacking := [name for name in columns if names.count(name) != 1]:
            raise refuse("table-malformed", path, f"not one column {', '.join(lacking)}")
        places = [names.index(name) for name in columns]
        for cells in reader:
            if len(cells) == len(names):
                yield reader.line_num, [cells[place] for place in places]
            elif cells:
                detail = f"line {reader.line_num}: {len(cells)} cells, want {len(names)}"
                raise refuse("table-malformed", path, detail)
    except csv.Error as error:
        raise refuse("table-malformed", path, f"line {reader.line_num}: {error}") from error


def _text(path: Path) -> str:
    raw = load(path, LIMIT)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def understand(row: Row, path: Path, recording: Path) -> Facts:
    """Turn the cells of one row of the table `path` into what they mean for a recording."""
    age, findings = facts.age(row.age, recording)
    sex, odd = facts.sex(row.sex, recording)
    whole = _WHOLE.fullmatch(row.subject)
    if not whole and row.subject.strip():
        raise refuse("table-malformed", path, f"patient_id {row.subject[:20]!r} of {row.ecg_id}")
    fold = _WHOLE.fullmatch(row.fold)
    if not fold:
        raise refuse("table-malformed", path, f"strat_fold {row.fold[:20]!r} of {row.ecg_id}")
    labels = _likelihoods(row.statements)
    if labels is None:
        raise refuse("table-malformed", path, f"scp_codes of {row.ecg_id}")
    subject = whole[1] if whole else None
    return Facts(subject, age, sex, dict(labels), fold[1], (*findings, *odd))


@lru_cache(maxsize=8192)
def _likelihoods(cell: str) -> tuple[tuple[str, float], ...] | None:
    """Read `{'NORM': 100.0, 'SR': 0.0}`: statements and likelihoods, where 0 means unknown."""
    if len(cell) > 2000 or not _STATEMENTS.fullmatch(cell):
        return None
    found = [(code, float(percent)) for code, percent in _ONE.findall(cell)]
    if any(percent > 100 for _, percent in found) or len(dict(found)) != len(found):
        return None
    return tuple((code, percent / 100 if percent else math.nan) for code, percent in found)
