"""Kept: what of a comparison counts without its models, and what has to be made again.

Models are large and stay behind; tables are made of results. So a finished probe counts as long as
its results can be read, and a training without its model is only repeated for a probe that is
lacking. On another machine the weights may come out otherwise: what another model than the one in
`models/` has answered is asked again, so that a row and a seed are always one model.
"""

from collections.abc import Sequence
from pathlib import Path

from nerula.comparison.plan import FINISHED, MODELS, PRETRAIN, PROBE, WAITING, Cell, Plan
from nerula.errors import NerulaError
from nerula.files import load_json
from nerula.results import Result


def settle(plan: Plan, training: str | None = None) -> list[Cell]:
    """Take "finished" from probes whose results do not count, of all trainings or of one."""
    taken = []
    for cell in plan.cells.values():
        if cell.kind != PROBE or cell.status != FINISHED or training not in (None, cell.needs):
            continue
        if problem := _problem(plan, cell):
            cell.status, cell.problem = WAITING, problem
            taken.append(cell)
    return taken


def work(plan: Plan, asked: Sequence[str]) -> list[str]:
    """What is asked, less the trainings that can be spared, and what is to be asked again.

    The last are probes that somebody asked for earlier: their model is made again now, or lies
    there while their results do not count.
    """
    names: list[str] = []
    again: list[str] = []
    for cell in (plan.cells[name] for name in asked):
        if cell.kind != PRETRAIN:
            names.append(cell.name)
            continue
        own = [one for one in plan.cells.values() if one.needs == cell.name]
        lacking = any(one.name in asked and not plan.there(one) for one in own)
        here = plan.there(cell)
        if cell.status == FINISHED and not here and not lacking:
            continue
        names.append(cell.name)
        earlier = [one for one in own if one.made and one.name not in asked]
        again += [one.name for one in earlier if not (here and plan.there(one))]
    return names + again


def models(plan: Plan, cells: Sequence[Cell]) -> set[str]:
    """Digests of the weights that gave these probes' answers, or that lie there for them."""
    held = [_tensors(plan.run(cell)) for cell in cells]
    for cell in cells:
        if cell.status == FINISHED:
            paths = [plan.folder / name for name in cell.made if name.endswith(".json")]
            held += [Result.read(path).document["model"].get("tensors") for path in paths]
    return {one for one in held if one}


def replace_others(written: Path) -> None:
    """Delete the answers of other models to the same question: nothing refers to them any more."""
    for path in (written, written.with_suffix(".npz")):
        question = _question(path)
        for other in path.parent.iterdir():
            if other != path and _question(other) == question:
                other.unlink()


def _question(path: Path) -> str:
    """The name of a result's file without the fingerprint of the model."""
    return path.name.partition(".")[2]


def _problem(plan: Plan, cell: Cell) -> str | None:
    """Why the results of a cell do not count, or None."""
    paths = [plan.folder / name for name in cell.made]
    try:
        results = [Result.read(path) for path in paths if path.suffix == ".json"]
    except NerulaError:
        return "its results are missing or damaged"
    model = _tensors(plan.run(cell))
    if model and any(one.document["model"].get("tensors") != model for one in results):
        return f"its results are of another model than the one in {MODELS}"
    return None


def _tensors(run: Path) -> str | None:
    """The digest of the weights of a training, where its model is there."""
    try:
        config = load_json(run / "model" / "config.json")
        return str(config["tensors"])
    except (OSError, ValueError, KeyError, TypeError):  # loading will name what is damaged
        return None
