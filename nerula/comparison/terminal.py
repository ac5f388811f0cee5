"""Terminal: tables, checks and cells for a person who looks on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nerula.comparison import words
from nerula.comparison.markdown import LEAD
from nerula.comparison.plan import PRETRAIN, Cell, Plan

if TYPE_CHECKING:
    from rich.console import Console


def show(console: "Console", document: dict[str, Any]) -> None:
    """A table with its differences and sentences."""
    from rich.markup import escape

    columns = document["columns"]
    table = _table(document["title"], columns)
    kind = None
    for row in document["rows"]:
        if kind not in (None, row["kind"]):
            table.add_section()
        kind = row["kind"]
        cells = [_cell(c, column) for c, column in zip(row["cells"], columns, strict=True)]
        table.add_row(escape(row["title"]), *cells)
    console.print()
    console.print(table)
    for said in [document["note"], words.reading(document)]:
        if said:
            console.print(f"[dim]{escape(said)}[/]")
    if paired := words.lead(document):
        second = _table(LEAD, columns)
        for title, cells in paired:
            second.add_row(escape(title), *cells)
        console.print(second, style="dim")
    for said in document["sentences"]:
        console.print(escape(said))


def show_checks(
    console: "Console", checks: Sequence[dict[str, Any]], seen: dict[str, int]
) -> None:
    """What was counted, and how often it is broken."""
    from rich import box
    from rich.table import Table

    table = Table(title="The protocol, counted", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("check")
    table.add_column("looked at", justify="right")
    table.add_column("broken", justify="right")
    for one in checks:
        colour = "green" if not one["broken"] else "bold red"
        looked = f"{one['looked_at']:,} {one['of']}"
        table.add_row(one["check"], looked, f"[{colour}]{one['broken']:,}[/]")
    console.print(table)
    if seen:
        console.print(words.budget(seen))


def say(console: "Console", plan: Plan, cell: Cell, outcome: str) -> None:
    """That a cell begins, or how it ended, and how many are left."""
    from rich.markup import escape

    done = sum(one.status == "finished" for one in plan.cells.values())
    if not outcome:
        if cell.kind == PRETRAIN:
            console.rule(f"[bold]{escape(cell.name)}", align="left")
        return
    counted = f"{done} of {len(plan.cells)}"
    if outcome == "finished":
        seconds = f"{cell.seconds:,.1f} s"
        console.print(f"[dim]{counted}[/]  {escape(cell.name)}  [dim]{seconds}[/]", soft_wrap=True)
    else:
        console.print(
            f"[dim]{counted}[/]  [bold red]failed[/] {escape(cell.name)}: {escape(outcome)}",
            soft_wrap=True,
        )


def show_plan(console: "Console", plan: Plan) -> None:
    """What would be computed."""
    for cell in plan.cells.values():
        state = "[green]there[/]" if plan.there(cell) else "to do"
        console.print(f"{state:5}  {cell.name}", soft_wrap=True)
    left = [cell for cell in plan.cells.values() if not plan.there(cell)]
    trainings = sum(cell.kind == PRETRAIN for cell in left)
    console.print(f"{trainings} trainings and {len(left) - trainings} probes are to do.")


def _table(title: str, columns: Sequence[dict[str, Any]]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1)
    )
    table.add_column("")
    for column in columns:
        arrow = "↓" if column["lower"] else "↑"
        table.add_column(f"{column['heading']} {arrow}", justify="right")
    return table


def _cell(cell: dict[str, Any] | None, column: dict[str, Any]) -> str:
    if cell is None:
        return "–"
    metric = column["metric"]
    value = words.figure(cell["value"], metric)
    value = f"[bold]{value}[/]" if cell["best"] else value
    low, high = words.figure(cell["low"], metric), words.figure(cell["high"], metric)
    paper = "" if cell["paper"] is None else f"\n[cyan]paper {cell['paper']:.2f}[/]"
    return f"{value}\n[dim]{low} to {high}[/]{paper}"
