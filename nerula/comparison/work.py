"""Work: compute the cells of a plan in order, one at a time, and write down how each went."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nerula.comparison import kept
from nerula.comparison.places import without_places
from nerula.comparison.plan import FAILED, FINISHED, PRETRAIN, WAITING, Cell, Plan
from nerula.comparison.rows import Row
from nerula.errors import NerulaError
from nerula.store import Store

CACHE = "cache"
STOPPED = 143
"""What `pretrain` returns when it was told to stop."""


class StoppedError(Exception):
    """Somebody asked the process to end."""


@dataclass(frozen=True, kw_only=True)
class Hands:
    """What cells are computed with."""

    asked: Sequence[str]
    """Names of the cells to go through; the plan may have more, from earlier calls."""
    pretrain: Callable[..., int]
    """The function of that name; it continues by itself what was interrupted."""
    rows: Mapping[str, Row]
    training: Mapping[str, Path]
    """The store of each row's training."""
    tasks: Mapping[str, Store]
    """The store of each task."""
    machine: Mapping[str, Any]
    """Device, precision and threads."""
    say: Callable[[Cell, str], None]
    """Tells a person about a cell: that it begins, or how it ended."""
    told: Callable[[int, int, float | None], None] | None = None
    """Hears of every epoch of a network that is trained on labels."""


def compute(plan: Plan, hands: Hands) -> bool:
    """Compute what is asked for and not there; True where nothing failed.

    What fails is written down, and what does not depend on it goes on. `comparison.json` is
    whole at any moment, so the same call continues whatever ended this one.
    """
    wanted = [plan.cells[name] for name in hands.asked]
    for cell in wanted:
        if plan.there(cell):
            continue
        if cell.needs and plan.cells[cell.needs].status != FINISHED:
            cell.status, cell.problem = WAITING, f"{cell.needs} is not finished"
            continue
        hands.say(cell, "")
        began, said = time.monotonic(), "finished"
        try:
            _train(plan, cell, hands) if cell.kind == PRETRAIN else _probe(plan, cell, hands)
        except StoppedError:
            raise
        except Exception as error:  # one bad cell never ends a comparison
            cell.status = FAILED
            named = isinstance(error, NerulaError)
            said = str(error) if named else f"{type(error).__name__}: {error}"
            cell.problem = without_places(said)
        else:
            cell.status, cell.problem = FINISHED, None
            cell.seconds = cell.facts.get("seconds") or round(time.monotonic() - began, 2)
            if cell.kind == PRETRAIN:
                kept.settle(plan, cell.name)
        plan.save()
        hands.say(cell, said)
    plan.save()
    return all(cell.status == FINISHED for cell in wanted)


def _train(plan: Plan, cell: Cell, hands: Hands) -> None:
    """Train a model, or go on training it."""
    row = hands.rows[cell.row]
    run = plan.run(cell)
    given = {
        name: cell.inputs["options"][name]
        for name in ("epochs", "batch", "folds")
        if name in cell.inputs["options"]
    }
    untrained = "epochs" not in given
    given |= {**dict(row.arguments), **hands.machine, "seed": cell.seed}
    given["window"] = cell.inputs["options"]["window"]
    if untrained:
        given["epochs"] = 0
    code = hands.pretrain(row.method, hands.training[cell.row], run, farewell=False, **given)
    if code == STOPPED:
        raise StoppedError
    state = json.loads((run / "run.json").read_text(encoding="utf-8"))
    batch = cell.inputs["options"].get("batch", 0)
    cell.facts = {
        "steps": state["steps"],
        "recordings_seen": state["steps"] * batch,
        "seconds": state["seconds"],
        "collapsed": bool(state.get("collapsed")),
    }
    made = [run / "model" / name for name in ("config.json", "model.safetensors")]
    cell.made = [str(path.relative_to(plan.folder)) for path in made]


def _probe(plan: Plan, cell: Cell, hands: Hands) -> None:
    """Judge a model on a task by one probe."""
    from nerula.evaluate import evaluate
    from nerula.ground import Ways
    from nerula.tasks import find

    row, inputs = hands.rows[cell.row], cell.inputs
    model = _loaded(plan.run(cell), row, hands)
    ways = Ways(
        probes=(inputs["probe"],),
        labels=(inputs["labels"],),
        gaps=tuple(inputs["gaps"]),
        leads=cell.given.fitted,
        tested=cell.given.tested,
        draws=inputs["draws"],
        resamples=inputs["resamples"],
        seed=cell.seed,
        tuning={**inputs.get("tuning", {}), **hands.machine},
        told=hands.told,
    )
    task, cache = find(inputs["task"]), plan.folder / CACHE
    made = []
    for result in evaluate(model, task, hands.tasks[task.name], cache, ways):
        command = {"command": without_places(result.document["command"])}
        written = replace(result, document=result.document | command).write(plan.place(cell))
        kept.replace_others(written)
        made.append(written)
    paths = [path for one in made for path in (one, one.with_suffix(".npz"))]
    cell.made = [str(path.relative_to(plan.folder)) for path in paths]


def _loaded(folder: Path, row: Row, hands: Hands) -> Any:
    from nerula import bundle, methods
    from nerula.machine import Machine
    from nerula.options import Options

    own = None if row.method in methods.METHODS else methods.find(row.method)
    device = Machine.chosen(Options(device=hands.machine.get("device", "auto"))).device
    return bundle.load(folder, device=device, method=own)
