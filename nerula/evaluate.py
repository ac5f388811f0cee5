"""Evaluate: a model, a task and a store to results. The guards stand before everything else."""

import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import __version__, guards, judgement, probes
from nerula.bootstrap import CONFIDENCE, RESAMPLES, SEED, Judged
from nerula.errors import UsageError
from nerula.features import Features, Gap, fingerprint
from nerula.fewer import subset
from nerula.gaps import FILLINGS
from nerula.leads import has_leads
from nerula.likeness import compared
from nerula.metrics import Answers
from nerula.probes import Examples, Question
from nerula.results import FORMAT, Result
from nerula.store import Store
from nerula.tasks import Facts, Split, Task
from nerula.tasks.task import FAMILIES

if TYPE_CHECKING:
    from nerula.finetune import Finetuned
    from nerula.model import Model

FINETUNED_KINDS = {"classes": "classes", "labels": "multilabel", "values": "regression"}
FINETUNED = "finetuned"
"""What the results of a whole network that was trained on are called, in place of a probe."""
WHOLE = Gap(0.0, "masked")


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How a task is to be evaluated."""

    probes: tuple[str, ...] = ()
    """Which probes, `FINETUNED` among them; all of the task's where empty."""
    labels: tuple[float, ...] = (1.0,)
    """Shares of the training labels."""
    draws: int = 5
    """How often a share below 1 is drawn."""
    gaps: tuple[float, ...] = ()
    """Shares of every test recording that are taken away, beside none."""
    finetune: bool = False
    """Whether the whole network is trained too, beside these."""
    leads: tuple[str, ...] = ()
    """Which leads the model is given; all that it can have where empty."""
    unverified: bool = False
    """Whether a model is believed that does not say what it was trained on."""
    seed: int = 0
    resamples: int = RESAMPLES
    tuning: Mapping[str, Any] = field(default_factory=dict)
    """Options of `nerula.finetune.finetune`, such as its epochs."""

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in self.labels):
            raise UsageError(f"Shares of labels lie above 0 and up to 1, not {self.labels}.")
        if not all(0 < share < 1 for share in self.gaps):
            raise UsageError(f"Shares that are missing lie between 0 and 1, not {self.gaps}.")

    def asked(self, task: Task) -> tuple[str, ...]:
        """The probes to fit, in their order."""
        chosen = self.probes or task.probes
        return (*chosen, FINETUNED) if self.finetune and FINETUNED not in chosen else chosen


@dataclass(frozen=True, eq=False)
class Ground:
    """All that is fixed before anything is fitted, and checked."""

    model: "Model"
    task: Task
    store: Store
    ways: Ways
    facts: Facts
    target: NDArray[Any]
    splits: list[Split]
    checks: list[dict[str, int]]
    provenance: dict[str, str]
    features: Features
    lacking: int
    """Recordings that would count, but lack a lead."""

    @property
    def question(self) -> Question:
        """What a probe has to know."""
        return Question(self.task.kind, len(self.task.answers), self.task.main)

    def examples(self, rows: NDArray[np.int64]) -> Examples:
        """Embeddings and targets of some rows."""
        z = self.features.of(rows) if len(rows) else np.empty((0, 1), np.float32)
        return Examples(z, self.target[rows], self.facts.people[rows])

    def judged(self, answers: Answers, rows: NDArray[np.int64], held: Answers | None) -> Judged:
        """Answers about rows, with thresholds from the training side."""
        score = answers.score.astype(np.float32).astype(np.float64)  # as they are stored
        limits = judgement.thresholds(held, score.shape[1])
        answers = replace(answers, score=score)
        return Judged(answers, rows, self.facts.people[rows], limits)


def evaluate(
    model: "Model", task: Task, store: Store, folder: Path, ways: Ways | None = None
) -> Iterator[Result]:
    """Yield the results of a task, one per probe and way, as they are ready.

    Embeddings are kept in `folder`. A split that leaks, or a model that has seen what it would be
    judged by, is refused before anything is fitted.
    """
    ground = prepare_ground(model, task, store, folder, ways or Ways())
    if task.kind == "identity":
        yield from _identity(ground)
        return
    if task.kind == "leads":
        yield from _across(ground)
        return
    if 1 in ground.ways.labels and ground.ways.asked(task) != (FINETUNED,):
        ground.features.of(np.concatenate([rows for one in ground.splits for rows in one.all]))
    for probe in ground.ways.asked(task):
        yield from _finetuned(ground) if probe == FINETUNED else _probe(ground, probe)


def prepare_ground(model: "Model", task: Task, store: Store, folder: Path, ways: Ways) -> Ground:
    """Read the facts, draw the splits, and refuse what would break the protocol."""
    kind = _kind(store)
    if FAMILIES.get(kind, kind) != task.family or (kind == "sample" and not task.on_sample):
        raise UsageError(
            f"The task {task.name} is asked on {task.family}; {store.path} was made from {kind}.",
            f"Get it with: nerula fetch {task.fetch} FOLDER",
        )
    tuned = FINETUNED in ways.asked(task) and task.learners is None
    if not task.trained and (tuned or ways.labels != (1.0,)):
        raise UsageError(f"In the task {task.name} nothing is trained: no labels, no fine-tuning.")
    if unknown := set(ways.probes) - {*task.probes, FINETUNED}:
        raise UsageError(
            f"The task {task.name} has no probe {', '.join(sorted(unknown))}.",
            f"It has {', '.join(task.probes)}.",
        )
    facts = Facts.of(store)
    target = task.target(facts)
    features = Features(model, store, task, folder, ways.leads)
    counts, complete = task.counts(facts, target), has_leads(store, features.plan.names)
    splits = task.splits(facts, counts & complete)
    recognised = task.kind == "identity"
    checks = [
        guards.sides_apart(facts, split, strangers=not recognised)
        for split in splits
        if task.view != "halves"  # both sides of that comparison are one recording
    ]
    judged = np.unique(np.concatenate([rows for one in splits for rows in (one.choose, one.test)]))
    try:
        training = model.config.training if model.config else {}
        seen = guards.unseen(training, facts, kind, store.digest, judged)
        provenance = {"status": "checked", "detail": seen}
    except guards.UnverifiedError as error:
        if not ways.unverified:
            raise
        provenance = {"status": "unverified", "detail": error.message}
    lacking = int((counts & ~complete).sum())
    held = (facts, target, splits, checks, provenance, features, lacking)
    return Ground(model, task, store, ways, *held)


def _probe(ground: Ground, probe: str) -> Iterator[Result]:
    """One probe with every share of labels; with all labels also every gap."""
    for share in ground.ways.labels:
        cases: dict[Gap, list[Judged]] = {WHOLE: []}
        if share == 1:
            cases |= {Gap(g, how): [] for g in ground.ways.gaps for how in FILLINGS}
        chance: list[Judged] = []
        fits: list[dict[str, Any]] = []
        first: probes.Fitted | None = None
        for number, draw, split in _fits(ground, share):
            fitted, facts = _fit(ground, probe, split, draw)
            first = first or fitted
            fits.append({"split": number, "draw": draw, **facts, **_checked(ground, number)})
            truth = ground.target[split.test]
            for gap, judged in cases.items():
                if gap is WHOLE or not number:  # gaps are measured on the first split
                    z = ground.features.of(split.test, None if gap is WHOLE else gap)
                    answers = fitted.answer(z, truth)
                    judged.append(ground.judged(answers, split.test, fitted.held))
            blind = probes.constant(ground.question, ground.target[split.train], truth)
            chance.append(ground.judged(blind, split.test, None))
        for gap, judged in cases.items():
            way = {"probe": probe, "labels": share, "gap": gap.share, "filling": gap.filling}
            count = len(judged)
            found = _result(ground, way, judged, chance[:count], fits[:count])
            yield replace(found, fitted=first if gap is WHOLE else None)


def _fits(ground: Ground, share: float) -> Iterator[tuple[int, int, Split]]:
    """Every split, and every draw of labels from it."""
    for number, split in enumerate(ground.splits):
        for draw in range(1 if share == 1 else ground.ways.draws):
            train, choose = (
                subset(rows, ground.facts.people[rows], ground.target[rows], share, draw)
                for rows in (split.train, split.choose)
            )
            yield number, draw, replace(split, train=train, choose=choose)


def _fit(
    ground: Ground, probe: str, split: Split, draw: int
) -> tuple[probes.Fitted, dict[str, Any]]:
    """Fit on one split, and say how."""
    began = time.process_time()
    train, choose = ground.examples(split.train), ground.examples(split.choose)
    fitted = probes.fit(probe, ground.question, train, choose, ground.ways.seed + draw)
    return fitted, _sizes(ground, split) | {
        "chosen": dict(fitted.chosen),
        "seconds": round(time.process_time() - began, 2),
    }


def _sizes(ground: Ground, split: Split) -> dict[str, Any]:
    sides = {"train": split.train, "choose": split.choose, "test": split.test}
    people = ground.facts.people
    return {side: len(rows) for side, rows in sides.items()} | {
        "subjects": {side: len(np.unique(people[rows])) for side, rows in sides.items()},
        "dropped_twins": ground.facts.name[split.dropped].tolist(),
    }


def _checked(ground: Ground, number: int) -> dict[str, int]:
    return ground.checks[number] if ground.checks else {}


def _identity(ground: Ground) -> Iterator[Result]:
    """Compare every query with the whole gallery; nothing is trained."""
    (split,), halves = ground.splits, ground.task.view == "halves"
    cases = [WHOLE, *(Gap(share, how) for share in ground.ways.gaps for how in FILLINGS)]
    for probe in ground.ways.asked(ground.task):
        features = _tuned_on_others(ground) if probe == FINETUNED else ground.features
        for gap in cases:
            began = time.process_time()
            gallery = features.of(split.choose)
            query = features.of(split.test, None if gap is WHOLE else gap)
            if halves:
                gallery, query = np.hsplit(gallery, 2)[0], np.hsplit(query, 2)[1]
            share = 0.5 if halves else 1.0  # of a recording that is in the gallery
            score = compared(probe, gallery, query, partial(features.pieces, split.choose, share))
            answers = Answers(np.arange(len(query)), score, score.argmax(1))
            judged = [ground.judged(answers, split.test, None)]
            fits = [{"split": 0, "draw": 0, **_sizes(ground, split), **_checked(ground, 0)}]
            fits[0] |= {"chosen": {}, "seconds": round(time.process_time() - began, 2)}
            way = {"probe": probe, "labels": 1.0, "gap": gap.share, "filling": gap.filling}
            yield _result(ground, way, judged, None, fits)


def _tuned_on_others(ground: Ground) -> Features:
    """The embeddings of a network that was trained to tell other people apart."""
    from nerula.finetune import finetune

    if ground.task.learners is None:
        raise UsageError(f"In the task {ground.task.name} there is nobody else to learn from.")
    rows = ground.task.learners(ground.facts)
    rows = rows[has_leads(ground.store, leads := ground.features.plan.names)[rows]]
    _, people = np.unique(ground.facts.people[rows], return_inverse=True)
    how = {"seed": ground.ways.seed, "leads": leads, **ground.ways.tuning}
    trained = finetune(ground.model, ground.store, rows, people, "identity", **how)
    return replace(ground.features, model=trained.model)


def _across(ground: Ground) -> Iterator[Result]:
    """What the model says of each lead alone; the split serves simple answers beside it."""
    from nerula.across import answered

    (split,) = ground.splits
    began, wanted = time.process_time(), ground.ways.asked(ground.task)
    sides, zeros = (split.train, split.test), np.zeros(len(split.test))
    for found in answered(ground.task.name, ground.model, ground.store, sides, wanted):
        judged, chance = (
            [ground.judged(Answers(zeros, score, zeros), split.test, None)]
            for score in (found.score, found.chance)
        )
        fits = [{"split": 0, "draw": 0, **_sizes(ground, split), **_checked(ground, 0)}]
        fits[0] |= {"chosen": {}, "seconds": round(time.process_time() - began, 2)}
        way = {"probe": found.probe, "labels": 1.0, "gap": 0.0, "filling": "masked"}
        result = _result(ground, way, judged, chance, fits)
        yield replace(result, document=result.document | {"shown": found.shown})


def _finetuned(ground: Ground) -> Iterator[Result]:
    """Train the whole network on each share of labels."""
    from nerula.finetune import finetune

    task = ground.task
    if task.view != "whole":
        raise UsageError(f"The task {task.name} joins several embeddings: no fine-tuning.")
    for share in ground.ways.labels:
        judged: list[Judged] = []
        chance: list[Judged] = []
        fits: list[dict[str, Any]] = []
        for number, draw, split in _fits(ground, share):
            began = time.process_time()
            trained = finetune(
                ground.model,
                ground.store,
                split.train,
                ground.target[split.train],
                FINETUNED_KINDS[task.kind],
                outputs=len(task.answers) if task.kind == "classes" else None,
                seed=ground.ways.seed + draw,
                leads=ground.features.plan.names,
                **ground.ways.tuning,
            )
            answers, held = (
                _predicted(ground, trained, rows) if len(rows) else None
                for rows in (split.test, split.choose)
            )
            if answers is None:
                continue
            judged.append(ground.judged(answers, split.test, held))
            blind = probes.constant(
                ground.question, ground.target[split.train], ground.target[split.test]
            )
            chance.append(ground.judged(blind, split.test, None))
            facts = _sizes(ground, split) | {"chosen": {"epoch": trained.epoch}}
            seconds = round(time.process_time() - began, 2)
            fits.append({"split": number, "draw": draw, **facts, "seconds": seconds})
            fits[-1] |= _checked(ground, number)
        way = {"probe": FINETUNED, "labels": share, "gap": 0.0, "filling": "masked"}
        yield _result(ground, way, judged, chance, fits)


def _predicted(ground: Ground, trained: "Finetuned", rows: NDArray[np.int64]) -> Answers:
    """What a fine-tuned network says."""
    score = np.asarray(trained.predict(ground.store, rows), np.float64)
    predicted = score[:, 0] if ground.task.kind == "values" else score.argmax(1)
    return Answers(ground.target[rows], score, predicted)


def _result(
    ground: Ground,
    way: dict[str, Any],
    judged: Sequence[Judged],
    chance: Sequence[Judged] | None,
    fits: list[dict[str, Any]],
) -> Result:
    """The document. docs/tasks.md explains every key."""
    task, model, ways = ground.task, ground.model, ground.ways
    grid = probes.GRIDS.get((way["probe"], task.kind), ())
    counted = np.unique(np.concatenate([run.row for run in judged]))
    document = {
        "format": FORMAT,
        "nerula": __version__,
        "task": {
            "name": task.name,
            "title": task.title,
            "kind": task.kind,
            "answers": list(task.answers),
            "main": task.main,
            "protocol": task.protocol,
        },
        "model": model.identity | {"fingerprint": fingerprint(model)},
        "provenance": ground.provenance,
        "data": {
            "store": ground.store.digest,
            "kind": _kind(ground.store),
            "recordings": len(ground.store),
            "lacking": ground.lacking,
            "split": guards.split_digest(ground.facts, ground.splits),
            "tested": len(counted),
        },
        "way": way | ({"leads": list(ways.leads)} if ways.leads else {}),
        "windows": {
            "seconds": model.seconds,
            "overlap": task.overlap,
            "view": task.view,
            "leads": list(ground.features.plan.names),
        },
        "fits": fits,
        "grid": [dict(one) for one in grid],
        "metrics": judgement.overall(task, judged, chance, ways.resamples),
        **judgement.details(task, judged, ground.facts, ways.resamples),
        "bootstrap": {
            "resamples": ways.resamples,
            "over": "subjects",
            "seed": SEED,
            "confidence": CONFIDENCE,
        },
        "seed": ways.seed,
        "seconds": round(sum(one["seconds"] for one in fits), 2),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    return Result(document, tuple(judged), ground.facts.name.astype(np.str_))


def _kind(store: Store) -> str:
    """What the store was made from."""
    return str((store.facts.get("source") or {}).get("kind", "unknown files"))
