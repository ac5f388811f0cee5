"""Terminal: tables, checks and cells for a person who looks on."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nerula.comparison import words
from nerula.comparison.markdown import LEAD
from nerula.comparison.plan import FINISHED, PRETRAIN, Cell, Plan

if TYPE_CHECKING:
    from rich.console import Console

THERE, TO_DO, PERHAPS, LATER = "there", "to do", "perhaps", "not asked"
AGAIN = (
    "Its model is not in this folder any more, so it is made again. Should it come out otherwise, "
    "all that it has answered is asked again."
)


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
            if _is_again(plan, cell):
                console.print(AGAIN, soft_wrap=True)
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


def show_taken(console: "Console", cells: Sequence[Cell]) -> None:
    """Answers that have been finished and do not count any more, so that no figure goes unseen."""
    from rich.markup import escape

    for cell in cells:
        said = f"{cell.name} does not count any more: {cell.problem}."
        console.print(f"[bold red]{escape(said)}[/]", soft_wrap=True)


def show_gathered(console: "Console", cells: Sequence[Cell]) -> None:
    """What was taken from other folders."""
    from rich.markup import escape

    for cell in cells:
        console.print(f"gathered   {escape(cell.name)}", soft_wrap=True)
    if not cells:
        console.print("Nothing is finished there that is not here already.")


def show_plan(console: "Console", plan: Plan, work: Sequence[str]) -> None:
    """What would be computed."""
    from rich.markup import escape

    states = {name: _state(plan, cell, name in work) for name, cell in plan.cells.items()}
    for name, state in states.items():
        again = f"  {AGAIN}" if state == TO_DO and _is_again(plan, plan.cells[name]) else ""
        console.print(f"{state:9}  {escape(name)}{again}", soft_wrap=True)
    left = [plan.cells[name] for name, state in states.items() if state == TO_DO]
    trainings = sum(cell.kind == PRETRAIN for cell in left)
    console.print(f"{trainings} trainings and {len(left) - trainings} probes are to do.")
    if perhaps := sum(state == PERHAPS for state in states.values()):
        console.print(f"{perhaps} more probes where their model comes out otherwise.")


def _is_again(plan: Plan, cell: Cell) -> bool:
    """Whether a training has ended before, and its model is gone."""
    return cell.kind == PRETRAIN and bool(cell.facts) and not plan.there(cell)


def _state(plan: Plan, cell: Cell, is_work: bool) -> str:
    """Whether a cell is there, to do, not asked for, or perhaps asked again."""
    if not is_work:
        return THERE if cell.status == FINISHED else LATER
    if not plan.there(cell):
        return TO_DO
    return PERHAPS if cell.needs and not plan.there(plan.cells[cell.needs]) else THERE


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
