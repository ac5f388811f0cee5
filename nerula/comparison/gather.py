"""Gather: rows that were made in other folders, as if they had been made in this one.

Rows can be computed on several machines at once, each in a folder of its own. What is gathered
must have one budget, one data and one meaning of each row, as within a folder; and a row and a
seed stay one model: a training is taken with its answers, or answers of the very model that is
there already.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nerula.comparison import kept
from nerula.comparison.plan import FILE, FINISHED, PRETRAIN, Cell, Plan
from nerula.errors import UsageError

PARTIAL = ".partial"


def gather(out: Path, others: Sequence[Path]) -> list[Cell]:
    """Take what is finished in other folders into `out`, one after the other; what was taken.

    A folder that cannot stand beside what is there is refused before anything of it is copied.
    """
    taken: list[Cell] = []
    for folder in others:
        if folder.resolve() == out.resolve():
            raise UsageError(f"{folder} is the folder to gather in.", "Name others.")
        other = Plan.read(folder)
        held = Plan.read(out) if (out / FILE).exists() else replace(other, folder=out, cells={})
        plan = replace(other, folder=out).joined(held)  # refuses what differs
        here = held.left()
        new = _new(replace(held, cells=here), other)
        for cell in new.values():
            _copy(other, cell, plan)
        replace(plan, cells=here | new).save()
        taken += new.values()
    return taken


def _new(plan: Plan, other: Plan) -> dict[str, Cell]:
    """Finished cells of another folder that the plan has not finished."""
    new = {
        cell.name: cell
        for cell in other.cells.values()
        if _done(other, cell)
        and (cell.name not in plan.cells or not _done(plan, plan.cells[cell.name]))
    }
    for cell in new.values():
        if cell.needs and cell.needs not in new:
            _same_model(plan, other, cell)
    return new


def _done(plan: Plan, cell: Cell) -> bool:
    """Whether a cell is finished, and what it answered lies there; models may stay behind."""
    return cell.status == FINISHED if cell.kind == PRETRAIN else plan.there(cell)


def _same_model(plan: Plan, other: Plan, cell: Cell) -> None:
    """Refuse an answer of another model than the one that the row and seed have."""
    mine = [one for one in plan.cells.values() if one.needs == cell.needs]
    if len(kept.models(plan, mine) | kept.models(other, [cell])) > 1:
        raise UsageError(
            f"{cell.row} seed {cell.seed} has other weights in {other.folder} than in "
            f"{plan.folder}: what they answer cannot stand in one row.",
            "Take other --seeds, or delete the row's folders and gather it whole.",
        )


def _copy(other: Plan, cell: Cell, plan: Plan) -> None:
    """Copy what a cell has made; of a training, its run without what only serves to go on."""
    if cell.kind == PRETRAIN:
        run, own = other.run(cell), _inside(plan, plan.run(cell))
        if run.exists():
            _replace(run, own)
        return
    for name in cell.made:
        path = _inside(plan, plan.folder / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(other.folder / name, path)


def _inside(plan: Plan, path: Path) -> Path:
    """A path below the folder; what a stranger's comparison.json names may lead out of it."""
    if plan.folder.resolve() not in path.resolve().parents:
        raise UsageError(f"{path} is not inside {plan.folder}.", "Gather what nerula has written.")
    return path


def _replace(run: Path, own: Path) -> None:
    """A copy of a run, whole or not there; an unfinished one of our own gives way."""
    partial = own.with_name(own.name + PARTIAL)
    for old in (partial, own):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(run, partial, ignore=shutil.ignore_patterns("checkpoints"))
    partial.rename(own)
