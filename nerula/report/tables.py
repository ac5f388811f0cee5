"""Tables: what `nerula compare` left behind, as its own documents say it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerula.comparison import words
from nerula.errors import NerulaError
from nerula.files import load_json
from nerula.run import read_json

COMPARISON, TABLES, CHECKS = "comparison.json", "tables", "checks.json"
FORMAT = "nerula-table-1"
OTHER_SEED = "\N{DITTO MARK}"
"""In place of a title: a result of another seed than the first."""


@dataclass(frozen=True)
class Cell:
    """Our figure, with the paper's beside it where it has one."""

    value: str
    interval: str
    paper: str
    best: bool


@dataclass(frozen=True)
class Line:
    """One row: who, and a cell for each column."""

    title: str
    kind: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Table:
    """One table with what it says."""

    title: str
    note: str
    headings: list[str]
    lines: list[Line]
    reading: str
    lead: list[tuple[str, list[str]]]
    """NERULA's lead over each row."""
    sentences: list[str]


@dataclass(frozen=True)
class Compared:
    """A comparison."""

    folder: Path
    tables: list[Table]
    checks: list[Mapping[str, Any]]
    budget: str
    titles: dict[Path, str] = field(default_factory=dict)
    """What each result is called, by its file."""


def read(folder: Path) -> Compared:
    """Read the tables of a comparison, and what its results are called."""
    try:
        held = read_json(folder / COMPARISON)
        found = [_table(path) for path in sorted((folder / TABLES).glob("*.json"))]
        checks = folder / TABLES / CHECKS
        counted: dict[str, Any] = read_json(checks) if checks.exists() else {}
        return Compared(
            folder=folder,
            tables=[one for one in found if one is not None],
            checks=list(counted.get("checks") or ()),
            budget=words.budget(counted.get("recordings_seen") or {}) if counted else "",
            titles=_titles(folder, held),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NerulaError(f"{folder / COMPARISON} is of another version: {error!r}.") from error


def _table(path: Path) -> Table | None:
    document = load_json(path)
    if document.get("format") != FORMAT:
        return None
    columns = document["columns"]
    return Table(
        title=document["title"],
        note=document["note"] or "",
        headings=[_heading(one) for one in columns],
        lines=[
            Line(
                title=row["title"],
                kind=row["kind"],
                cells=[_cell(*pair) for pair in zip(row["cells"], columns, strict=True)],
            )
            for row in document["rows"]
        ],
        reading=words.reading(document),
        lead=words.lead(document),
        sentences=list(document["sentences"]),
    )


def _heading(column: Mapping[str, Any]) -> str:
    """With an arrow that says which way is better; neither it nor "rank-1" is torn apart."""
    words = column["heading"].replace("-", "\N{NON-BREAKING HYPHEN}")
    return f"{words}\N{NO-BREAK SPACE}{'↓' if column['lower'] else '↑'}"


def _cell(cell: Mapping[str, Any] | None, column: Mapping[str, Any]) -> Cell | None:
    if cell is None:
        return None
    value, low, high = (
        words.figure(cell[end], column["metric"]) for end in ("value", "low", "high")
    )
    paper = "" if cell["paper"] is None else f"{cell['paper']:.2f}"
    return Cell(value, f"{low} to {high}", paper, bool(cell["best"]))


def _titles(folder: Path, held: Mapping[str, Any]) -> dict[Path, str]:
    names = {row["name"]: str(row["title"]) for row in held["rows"]}
    seeds: dict[str, int] = {}
    for cell in held["cells"]:
        seed = int(cell["seed"])
        seeds[cell["row"]] = min(seed, seeds.get(cell["row"], seed))
    return {
        folder / made: names[cell["row"]] if cell["seed"] == seeds[cell["row"]] else OTHER_SEED
        for cell in held["cells"]
        for made in cell["made"]
        if cell["row"] in names
    }
