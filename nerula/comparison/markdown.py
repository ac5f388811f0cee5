"""Markdown: a table's document, and the checks, as GitHub shows them."""

from collections.abc import Sequence
from typing import Any

from nerula.comparison import words

LEAD = "NERULA's lead over each row, paired (positive: NERULA is better)"


def render(document: dict[str, Any], heading: str = "###") -> str:
    """A table with its differences and sentences."""
    columns = document["columns"]
    lines = [f"{heading} {document['title']}", ""]
    lines += [document["note"], ""] if document["note"] else []
    lines += _header(columns)
    for row in document["rows"]:
        cells = [_cell(c, column) for c, column in zip(row["cells"], columns, strict=True)]
        lines.append(f"| {' | '.join([row['title'], *cells])} |")
    lines += ["", words.reading(document), ""]
    if paired := words.lead(document):
        lines += ["<details><summary>", LEAD, "</summary>", "", *_header(columns)]
        lines += [f"| {' | '.join([title, *cells])} |" for title, cells in paired]
        lines += ["", "</details>", ""]
    lines += [part for said in document["sentences"] for part in (said, "")]
    return "\n".join(lines)


def render_checks(checks: Sequence[dict[str, Any]], seen: dict[str, int]) -> str:
    """What was counted."""
    lines = ["| check | looked at | broken |", "|---|---:|---:|"]
    lines += [
        f"| {one['check']} | {one['looked_at']:,} {one['of']} | {one['broken']:,} |"
        for one in checks
    ]
    lines += ["", words.budget(seen), ""]
    return "\n".join(lines)


def _header(columns: Sequence[dict[str, Any]]) -> list[str]:
    names = [f"{column['heading']} {'↓' if column['lower'] else '↑'}" for column in columns]
    return [f"| {' | '.join(['', *names])} |", f"|---|{'---|' * len(names)}"]


def _cell(cell: dict[str, Any] | None, column: dict[str, Any]) -> str:
    if cell is None:
        return "–"
    metric = column["metric"]
    value = words.figure(cell["value"], metric)
    value = f"**{value}**" if cell["best"] else value
    low, high = words.figure(cell["low"], metric), words.figure(cell["high"], metric)
    paper = "" if cell["paper"] is None else f"<br>paper {cell['paper']:.2f}"
    return f"{value} ({low} to {high}){paper}"
