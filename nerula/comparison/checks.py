"""Checks of the protocol, counted for the whole comparison: before anything is fitted, and after.

What would break the protocol is refused, by name. What is counted stands in the output: a zero
that was computed is worth more than a promise.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula import guards
from nerula.comparison.plan import FINISHED, PRETRAIN, PROBE, Cell, Plan
from nerula.leads import Given
from nerula.results import Result
from nerula.store import Store
from nerula.tasks import Facts, Split, Task, find
from nerula.tasks.task import FAMILIES

Check = dict[str, Any]
"""What was checked, how much was looked at, how often it is broken, and words."""
Answered = tuple[Cell, dict[str, Any]]
"""A finished probe and the document of one of its results."""


def before(
    tasks: Mapping[str, Store], training: Mapping[tuple[str, str], Store], folds: str
) -> list[Check]:
    """Draw the split of each task and compare it with itself and with what is pretrained on.

    `training` has the name of a store and of a task that is asked of what was trained on it.
    """
    drawn = {name: _drawn(find(name), store) for name, store in tasks.items()}
    found = [check for one in drawn.values() for check in _apart(one)]
    return found + [
        _pretraining(name, store, folds, drawn[task]) for (name, task), store in training.items()
    ]


def summed(checks: Sequence[Check]) -> list[Check]:
    """Each check once, with what it counted in all tasks."""
    found: dict[str, Check] = {}
    for one in checks:
        held = found.setdefault(one["check"], _check(one["check"], 0, 0, one["of"]))
        held["looked_at"] += one["looked_at"]
        held["broken"] += one["broken"]
    return list(found.values())


def answered(plan: Plan) -> list[Answered]:
    """What finished probes have answered, each beside its cell."""
    return [
        (cell, Result.read(plan.folder / path).document)
        for cell in plan.cells.values()
        if cell.kind == PROBE and cell.status == FINISHED
        for path in cell.made
        if Path(path).suffix == ".json"
    ]


def unlike(documents: Sequence[Answered]) -> set[tuple[str, Given]]:
    """Tasks, each with the leads that models are given, whose rows are tested differently.

    Other leads may well be other recordings: those that lack one are left out.
    """
    tested: dict[tuple[str, Given], set[str]] = {}
    for cell, one in documents:
        asked = one["task"]["name"], cell.given
        key = f"{one['data']['split']} {one['data']['store']}"
        tested.setdefault(asked, set()).add(key)
    return {asked for asked, splits in tested.items() if len(splits) > 1}


def _fitted_unlike(documents: Sequence[Answered]) -> set[str]:
    """Tasks whose rows were fitted on other numbers of recordings, of the same labels and leads.

    All probes of a task, and a network that is trained on its labels, have the same splits.
    """
    fitted: dict[tuple[Any, ...], set[tuple[int, ...]]] = {}
    for cell, one in documents:
        if one["way"]["gap"]:
            continue  # the probe is counted without a gap; earlier versions had one split here
        asked = one["task"]["name"], one["way"]["labels"], cell.given
        counts = tuple(fit[side] for fit in one["fits"] for side in ("train", "choose"))
        fitted.setdefault(asked, set()).add(counts)
    return {asked[0] for asked, several in fitted.items() if len(several) > 1}


def after(plan: Plan, documents: Sequence[Answered]) -> list[Check]:
    """Compare all results with each other: the same recordings, the same budget, no leak."""
    fits = [
        fit
        for _, document in documents
        for fit in document["fits"]
        if document["task"]["kind"] != "identity"
    ]
    shared = sum(fit.get("shared_subjects", 0) + fit.get("shared_signals", 0) for fit in fits)
    unverified = [cell.name for cell, one in documents if one["provenance"]["status"] != "checked"]
    tasks = {one["task"]["name"] for _, one in documents}
    uneven = {task for task, _ in unlike(documents)}
    models: dict[tuple[str, int], set[str]] = {}
    for cell, one in documents:
        models.setdefault((cell.row, cell.seed), set()).add(one["model"]["fingerprint"])
    seen = recordings_seen(plan)
    return [
        _check("subjects and signals on two sides, in all fits", len(fits), shared, "fits"),
        _check("models whose pretraining was not checked", len(documents), len(unverified),
               "results"),
        _check("trainings whose results are of several models", len(models),
               sum(len(several) > 1 for several in models.values()), "trainings"),
        _check("tasks whose rows were judged on different recordings", len(tasks),
               len(uneven), "tasks"),
        _check("tasks whose rows were fitted on different numbers of recordings", len(tasks),
               len(_fitted_unlike(documents)), "tasks"),
        _check("rows that saw more or fewer recordings than most", len(seen),
               sum(number != _usual(seen) for number in seen.values()), "rows"),
    ]  # fmt: skip


def recordings_seen(plan: Plan) -> dict[str, int]:
    """Row to how many recordings, counted each time, its training saw without labels."""
    return {
        cell.row: cell.facts["recordings_seen"]
        for cell in plan.cells.values()
        if cell.kind == PRETRAIN and cell.facts.get("steps")
    }


def chosen(store: Store, folds: str) -> NDArray[np.int64]:
    """Which rows of a store are pretrained on."""
    from nerula.batches import chosen_folds

    return np.flatnonzero(chosen_folds(store.column("fold"), folds))


class _Drawn(NamedTuple):
    """A task on its store."""

    task: Task
    facts: Facts
    splits: list[Split]


def _drawn(task: Task, store: Store) -> _Drawn:
    facts = Facts.of(store)
    return _Drawn(task, facts, task.splits(facts, task.counts(facts, task.target(facts))))


def _apart(drawn: _Drawn) -> list[Check]:
    """Compare the sides of a task's splits; what is on both is counted, and people are refused."""
    task, splits = drawn.task, drawn.splits
    sides = [
        guards.sides_apart(drawn.facts, split, strangers=task.kind != "identity")
        for split in splits
        if not task.within
    ]
    found = [
        _check(f"{what} on two sides of a split", len(sides),
               sum(one[f"shared_{what}"] for one in sides), "splits", task.name)
        for what in (("signals",) if task.kind == "identity" else ("subjects", "signals"))
    ]  # fmt: skip
    if task.kind == "identity":  # gallery and queries are the same people, and nothing is fitted
        return found
    what = "test recordings on a side that is fitted or chooses"
    return [*found, _check(what, *_reused(splits), "recordings", task.name)]


def _pretraining(name: str, store: Store, folds: str, drawn: _Drawn) -> Check:
    """Refuse a recording, a subject or a signal that is trained on and judged by."""
    task, facts, splits = drawn
    own, rows = Facts.of(store), chosen(store, folds)
    judged = np.unique(np.concatenate([r for one in splits for r in (one.choose, one.test)]))
    compared = {"signals": (own.digest[rows], facts.digest[judged])}
    if task.family in _families(store):
        compared["recordings"] = (own.short[rows], facts.short[judged])
        compared["subjects"] = (own.subject[rows], facts.subject[judged])
    for what, (trained, tested) in compared.items():
        both = sorted((set(trained) & set(tested)) - {None})
        if both:
            more = " and more" if len(both) > guards.SHOWN else ""
            raise guards.LeakError(
                f"Pretraining on {name} would see {len(both)} {what} by which {task.name} is "
                f"judged: {', '.join(both[: guards.SHOWN])}{more}.",
                f"Leave them out of the store that is pretrained on, or out of --folds {folds}.",
            )
    where = " and ".join(sorted(_families(store)))  # the same on every machine, unlike a folder
    what = f"{task.name}: {', '.join(compared)} seen in the pretraining on {where}"
    return _check(what, len(judged), 0, "recordings", task.name)


def _families(store: Store) -> set[str]:
    """The data sets in a store."""
    source = store.facts.get("source") or {}
    kinds = [part["kind"] for part in source.get("parts", [])] or [str(source.get("kind"))]
    return {FAMILIES.get(kind, kind) for kind in kinds}


def _reused(splits: Sequence[Split]) -> tuple[int, int]:
    """How many test recordings there are, and how many of them are on another side."""
    looked = sum(len(split.test) for split in splits)
    fitted = [np.concatenate((split.train, split.choose)) for split in splits]
    pairs = zip(splits, fitted, strict=True)
    return looked, sum(int(np.isin(split.test, rows).sum()) for split, rows in pairs)


def _usual(seen: Mapping[str, int]) -> int:
    values = list(seen.values())
    return max(set(values), key=values.count)


def _check(what: str, looked: int, broken: int, of: str, task: str = "") -> Check:
    about = {"task": task} if task else {}
    return {"check": what, "looked_at": looked, "of": of, "broken": broken, **about}
