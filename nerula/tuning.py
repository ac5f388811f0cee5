"""Tuning: the fine-tuned networks of a task, each trained once and kept beside the embeddings.

So what is judged with other leads, or is asked again after an interruption, is not trained again.
While one learns, its checkpoints lie there too.
"""

import hashlib
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from nerula.features import fingerprint
from nerula.ground import Ground
from nerula.schema import HEAD
from nerula.tasks import Split

if TYPE_CHECKING:
    from nerula.tuned import Finetuned

KINDS = {"classes": "classes", "labels": "multilabel", "values": "regression"}
"""What fine-tuning calls the kinds of tasks."""


def tuned_on(ground: Ground, split: Split, draw: int) -> "Finetuned":
    """The network that was trained on the split's training side, now or before."""
    from nerula import finetune, tuned

    task, rows = ground.task, split.train
    how: dict[str, Any] = {
        "outputs": len(task.answers) if task.kind == "classes" else None,
        "seed": ground.ways.seed + draw,
        "leads": ground.features.plan.names,
        **ground.ways.tuning,
    }
    target, people = ground.target[rows], ground.facts.people[rows]
    chooses = split.choose if len(split.choose) >= finetune.LEAST_VALIDATION else None
    asked = {
        "model": fingerprint(ground.model),
        "store": ground.store.digest,
        "recipe": finetune.RECIPE,
        "rows": _digest(rows.tobytes()),
        "people": _digest(people.tobytes()),
        "target": _digest(np.ascontiguousarray(target).tobytes()),
        "choose": None if chooses is None else _digest(chooses.tobytes()),
        "task": task.name,
        **how,
    }
    key = _digest(json.dumps(asked, sort_keys=True, default=str).encode())
    place = ground.features.folder / f"tuned-{task.name}-{key}"
    if (place / HEAD).exists():
        held = tuned.load(place, method=type(ground.model.method))
        return replace(held, validated=np.array(held.about["validated"], np.int64))
    keeps = ground.model.config is not None  # else nothing says how to build the network again
    run = place.with_name(f"{place.name}.run")
    trained = finetune.finetune(
        ground.model,
        ground.store,
        rows,
        target,
        KINDS[task.kind],
        people=people,
        choose=None if chooses is None else (chooses, ground.target[chooses]),
        told=ground.ways.told,
        run=run if keeps else None,
        **how,
    )
    if keeps:
        trained.save(place, task.answers, {"validated": trained.validated.tolist()})
        shutil.rmtree(run, ignore_errors=True)
    return trained


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
