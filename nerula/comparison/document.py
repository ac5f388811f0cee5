"""Document: one table as plain JSON values, from which every rendering is made."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from nerula import __version__
from nerula.bootstrap import Interval
from nerula.comparison import checks, words
from nerula.comparison.plan import FAILED
from nerula.comparison.rows import Row
from nerula.comparison.standings import Standing, Standings
from nerula.comparison.tables import Column, Table

FORMAT = "nerula-table-1"
REFERENCE = "nerula"
"""The row that all others are paired with."""


def of_table(table: Table, standings: Standings) -> dict[str, Any]:
    """Every figure of a table: ours, the paper's, paired differences, and what they say."""
    plan = standings.plan
    compared = {row["name"]: Row(**row) for row in plan.rows}
    grid = {
        name: [
            standings.of(compared[name], column) if table.asks(compared[name], column) else None
            for column in table.columns
        ]
        for name in table.rows
        if name in compared
    }
    reference = grid.get(REFERENCE, [None] * len(table.columns))
    best = [
        _best(column, {name: cells[place] for name, cells in grid.items()}, compared)
        for place, column in enumerate(table.columns)
    ]
    failed = {cell.row for cell in plan.cells.values() if cell.status == FAILED}
    rows = []
    for name, cells in grid.items():
        if not any(cells) and name not in failed:
            continue  # nothing of it is computed yet
        row = compared[name]
        filled = [
            None if cell is None else _cell(
                cell, column, table.published(name, column), best[place] == name,
                None if name == REFERENCE else reference[place],
            )
            for place, (cell, column) in enumerate(zip(cells, table.columns, strict=True))
        ]  # fmt: skip
        kind = "more data" if row.without else row.kind
        made: dict[str, Any] = {"name": name, "title": row.title, "kind": kind, "cells": filled}
        if row.kind == "supervised":
            made["nerula_ahead"] = _beside(table, cells, reference)
        rows.append(made)
    columns = [
        {**asdict(column), "heading": column.heading, "lower": column.lower}
        for column in table.columns
    ]
    document: dict[str, Any] = {
        "format": FORMAT,
        "nerula": __version__,
        "name": table.name,
        "title": table.title,
        "number": table.number,
        "note": table.note,
        "budget": plan.budget,
        "recordings_seen": {
            name: seen for name, seen in checks.recordings_seen(plan).items() if name in grid
        },
        "columns": columns,
        "rows": rows,
        "collapsed": [
            cell.name
            for cell in plan.cells.values()
            if cell.row in grid and cell.facts.get("collapsed")
        ],
        "failed": [
            {"cell": cell.name, "problem": cell.problem}
            for cell in plan.cells.values()
            if cell.status == FAILED and cell.row in grid and _belongs(cell.inputs, table)
        ],
    }
    return document | {"sentences": words.about(document)}


def _beside(
    table: Table, cells: Sequence[Standing | None], reference: Sequence[Standing | None]
) -> list[dict[str, float | None] | None]:
    """NERULA's lead in each column over a row whose one answer stands in the first of its kind."""
    answer = {
        column.without_probe: cell
        for column, cell in zip(table.columns, cells, strict=True)
        if cell is not None
    }
    pairs = [(column, answer.get(column.without_probe)) for column in table.columns]
    return [
        None if own is None or nerula is None
        else _rounded(nerula.ahead_of(own, lower=column.lower))
        for (column, own), nerula in zip(pairs, reference, strict=True)
    ]  # fmt: skip


def _belongs(inputs: Mapping[str, Any], table: Table) -> bool:
    """Whether a cell is about the table's tasks, or is a training."""
    return "task" not in inputs or inputs["task"] in {column.task for column in table.columns}


def _cell(
    cell: Standing, column: Column, paper: float | None, best: bool, reference: Standing | None
) -> dict[str, Any]:
    ahead = None
    if reference is not None:
        ahead = _rounded(reference.ahead_of(cell, lower=column.lower))
    return {
        **_rounded(cell.interval),
        "n": cell.n,
        "subjects": cell.subjects,
        "fitted": cell.fitted,
        "leads": list(cell.leads),
        "seeds": list(cell.seeds),
        "paper": paper,
        "best": best,
        "nerula_ahead": ahead,
    }


def _best(
    column: Column, cells: Mapping[str, Standing | None], compared: Mapping[str, Row]
) -> str | None:
    """The row that is ahead of the next one beyond doubt, or None.

    A row that was pretrained on more data than the others does not take part.
    """
    sign = 1 if column.lower else -1
    ranked: Sequence[tuple[str, Standing]] = sorted(
        (
            (name, cell)
            for name, cell in cells.items()
            if cell is not None and not compared[name].without
        ),
        key=lambda one: sign * one[1].value,
    )
    if len(ranked) < 2:
        return None
    first, second = ranked[0][1], ranked[1][1]
    return ranked[0][0] if first.ahead_of(second, lower=column.lower).low > 0 else None


def _rounded(interval: Interval) -> dict[str, float | None]:
    return {
        name: round(value, 6) if math.isfinite(value) else None
        for name, value in asdict(interval).items()
    }
