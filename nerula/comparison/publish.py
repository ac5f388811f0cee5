"""Publish: every table as JSON, Markdown, LaTeX and on the terminal, from what is finished."""

import json
from collections.abc import Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerula.comparison import checks, document, latex, markdown, terminal
from nerula.comparison.plan import Plan
from nerula.comparison.standings import Standings
from nerula.comparison.tables import Table
from nerula.errors import NerulaError
from nerula.files import write_whole
from nerula.leads import Given

if TYPE_CHECKING:
    from rich.console import Console

TABLES, PAGE, CHECKS = "tables", "tables.md", "checks.json"


def publish(plan: Plan, console: "Console") -> Path:
    """Render all tables; return the page that has them all.

    A table whose rows cannot stand side by side is refused once all others are there.
    """
    folder = plan.folder / TABLES
    folder.mkdir(exist_ok=True)
    answered = checks.answered(plan)
    counted = [*checks.summed(plan.checks), *checks.after(plan, answered)]
    seen, unlike = checks.recordings_seen(plan), checks.unlike(answered)
    standings, pages, refused = Standings(plan), [], []
    for table in plan.tables:
        places = {end: folder / f"{table.name}.{end}" for end in ("json", "md", "tex")}
        try:
            made = _document(table, standings, unlike)
        except NerulaError as error:
            refused.append(f"{table.name}: {error.message}")
            for place in places.values():
                place.unlink(missing_ok=True)  # an earlier one would pass for this one
            continue
        page = markdown.render(made)
        write_whole(places["json"], json.dumps(made, indent=1) + "\n")
        write_whole(places["md"], page)
        write_whole(places["tex"], latex.render(made))
        terminal.show(console, made)
        pages.append(page)
    console.print()
    terminal.show_checks(console, counted, seen)
    held = {"checks": counted, "recordings_seen": seen, "budget": plan.budget, "data": plan.data}
    write_whole(folder / CHECKS, json.dumps(held, indent=1) + "\n")
    pages.append(f"### The protocol, counted\n\n{markdown.render_checks(counted, seen)}")
    write_whole(plan.folder / PAGE, "\n".join(pages))
    if refused:
        raise NerulaError(
            f"Tables that cannot be made: {' '.join(refused)}",
            f"All others are in {plan.folder / PAGE}. Compare rows in one folder, from one store.",
        )
    return plan.folder / PAGE


def _document(
    table: Table, standings: Standings, unlike: Set[tuple[str, Given]]
) -> dict[str, Any]:
    """A table's document; refused where its rows were judged on different recordings."""
    asked = {(column.task, column.given) for column in table.columns}
    if both := sorted(asked & unlike):
        names = [" ".join((task, *given.fitted, *given.tested)) for task, given in both]
        raise NerulaError(f"Rows were judged on different recordings: {', '.join(names)}.")
    return document.of_table(table, standings)
