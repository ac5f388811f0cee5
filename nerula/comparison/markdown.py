"""Markdown: a table's document, and the checks, as GitHub shows them."""

from collections.abc import Sequence
from typing import Any

from nerula.comparison import words

WIDE, FEW = 8, 5
"""With more columns than that and no more rows a table is turned, so that a page can hold it."""
LEAD = "NERULA's lead over each row, paired (positive: NERULA is better)"


def render(document: dict[str, Any], heading: str = "###") -> str:
    """A table with its differences and sentences."""
    columns = document["columns"]
    lines = [f"{heading} {document['title']}", ""]
    lines += [document["note"], ""] if document["note"] else []
    body = [
        [
            row["title"],
            *(_cell(c, column) for c, column in zip(row["cells"], columns, strict=True)),
        ]
        for row in document["rows"]
    ]
    if len(columns) > WIDE and len(body) <= FEW:
        lines += _table(list(map(list, zip(["", *_headings(columns)], *body, strict=True))))
    else:
        lines += _table([["", *_headings(columns)], *body])
    lines += ["", words.reading(document), ""]
    if paired := words.lead(document):
        rows = [["", *_headings(columns)], *([title, *cells] for title, cells in paired)]
        lines += ["<details><summary>", LEAD, "</summary>", "", *_table(rows)]
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


def _headings(columns: Sequence[dict[str, Any]]) -> list[str]:
    return [f"{column['heading']} {'↓' if column['lower'] else '↑'}" for column in columns]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; the first row is its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|---|{'---|' * (len(rows[0]) - 1)}", *body]


def _cell(cell: dict[str, Any] | None, column: dict[str, Any]) -> str:
    if cell is None:
        return "–"
    metric = column["metric"]
    value = words.figure(cell["value"], metric)
    value = f"**{value}**" if cell["best"] else value
    low, high = words.figure(cell["low"], metric), words.figure(cell["high"], metric)
    paper = "" if cell["paper"] is None else f"<br>paper {cell['paper']:.2f}"
    return f"{value} ({low} to {high}){paper}"
