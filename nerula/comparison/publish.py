"""Publish: every table as JSON, Markdown, LaTeX and on the terminal, from what is finished."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nerula.comparison import checks, document, latex, markdown, terminal
from nerula.comparison.plan import Plan
from nerula.comparison.standings import Standings
from nerula.files import write_whole

if TYPE_CHECKING:
    from rich.console import Console

TABLES, PAGE, CHECKS = "tables", "tables.md", "checks.json"


def publish(plan: Plan, console: "Console") -> Path:
    """Render all tables; return the page that has them all."""
    folder = plan.folder / TABLES
    folder.mkdir(exist_ok=True)
    counted = [*checks.summed(plan.checks), *checks.after(plan)]
    seen = checks.recordings_seen(plan)
    standings, pages = Standings(plan), []
    for table in plan.tables:
        made = document.of_table(table, standings)
        page = markdown.render(made)
        write_whole(folder / f"{table.name}.json", json.dumps(made, indent=1) + "\n")
        write_whole(folder / f"{table.name}.md", page)
        write_whole(folder / f"{table.name}.tex", latex.render(made))
        terminal.show(console, made)
        pages.append(page)
    console.print()
    terminal.show_checks(console, counted, seen)
    held = {"checks": counted, "recordings_seen": seen, "budget": plan.budget, "data": plan.data}
    write_whole(folder / CHECKS, json.dumps(held, indent=1) + "\n")
    pages.append(f"### The protocol, counted\n\n{markdown.render_checks(counted, seen)}")
    write_whole(plan.folder / PAGE, "\n".join(pages))
    return plan.folder / PAGE
