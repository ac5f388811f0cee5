"""Evaluate: a model, a task and a store to results. The guards stand before everything else."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nerula import judgement, probes
from nerula.blend import BLENDED, PLAIN, blended
from nerula.bootstrap import Judged
from nerula.errors import UsageError
from nerula.features import Gap
from nerula.fewer import subset
from nerula.gaps import FILLINGS
from nerula.ground import FINETUNED, WHOLE, Ground, Ways, prepare_ground
from nerula.metrics import Answers
from nerula.recognise import recognised
from nerula.results import Result
from nerula.store import Store
from nerula.tasks import Split, Task
from nerula.tuning import tuned_on

if TYPE_CHECKING:
    from nerula.model import Model
    from nerula.tuned import Finetuned


def evaluate(
    model: "Model", task: Task, store: Store, folder: Path, ways: Ways | None = None
) -> Iterator[Result]:
    """Yield the results of a task, one per probe and way, as they are ready.

    Embeddings are kept in `folder`. A split that leaks, or a model that has seen what it would be
    judged by, is refused before anything is fitted.
    """
    ground = prepare_ground(model, task, store, folder, ways or Ways())
    if task.kind == "identity":
        yield from recognised(ground)
        return
    if task.kind == "leads":
        yield from _across(ground)
        return
    if 1 in ground.ways.labels and ground.ways.asked(task) != (FINETUNED,):
        fitted = [rows for one in ground.splits for rows in (one.train, one.choose)]
        tested = np.concatenate([one.test for one in ground.splits])
        ground.features.of(np.concatenate(fitted))
        for gap in (None, *_gaps(ground)):
            ground.tested.of(tested, gap)
    for probe in ground.ways.asked(task):
        tuned = probe in (FINETUNED, BLENDED)
        yield from _finetuned(ground, probe) if tuned else _probe(ground, probe)


def _probe(ground: Ground, probe: str) -> Iterator[Result]:
    """One probe with every share of labels; with all labels also every gap."""
    task = ground.task
    for share in ground.ways.labels:
        cases: dict[Gap, list[Judged]] = {WHOLE: []}
        if share == 1:
            cases |= {gap: [] for gap in _gaps(ground)}
        chance: list[Judged] = []
        fits: list[dict[str, Any]] = []
        first: probes.Fitted | None = None
        for number, draw, split in _fits(ground, share):
            began = time.process_time()
            train, choose = ground.examples(split.train), ground.examples(split.choose)
            seed = ground.ways.seed + draw
            fitted = probes.fit(probe, ground.question, train, choose, seed)
            seconds = time.process_time() - began
            fits.append(ground.fit(number, draw, split, seconds, fitted.chosen))
            first = first or fitted
            for gap, judged in cases.items():
                answers = ground.answered(fitted, split.test, None if gap is WHOLE else gap)
                judged.append(ground.judged(answers, split.test, ground.held(fitted)))
            chance.append(ground.judged(_blind(ground, split), split.test, None))
        for gap, judged in cases.items():
            way = {"probe": probe, "labels": share, "gap": gap.share, "filling": gap.filling}
            grid = first.grid if first else ()
            found = ground.result(way, judged, chance, fits, grid)
            yield replace(found, fitted=first if gap is WHOLE and task.votes == 1 else None)


def _blind(ground: Ground, split: Split) -> Answers:
    """What one says without looking at a recording."""
    return probes.constant(ground.question, ground.target[split.train], ground.target[split.test])


def _gaps(ground: Ground) -> list[Gap]:
    """Every share that is to be missing, in every filling."""
    return [Gap(share, how) for share in ground.ways.gaps for how in FILLINGS]


def _fits(ground: Ground, share: float) -> Iterator[tuple[int, int, Split]]:
    """Every split, and every draw of labels from it."""
    for number, split in enumerate(ground.splits):
        for draw in range(1 if share == 1 else ground.ways.draws):
            train, choose = (
                subset(rows, ground.facts.people[rows], ground.target[rows], share, draw)
                for rows in (split.train, split.choose)
            )
            yield number, draw, replace(split, train=train, choose=choose)


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
        fits = [ground.fit(0, 0, split, time.process_time() - began)]
        way = {"probe": found.probe, "labels": 1.0, "gap": 0.0, "filling": "masked"}
        result = ground.result(way, judged, chance, fits)
        shown = dict(found.shown)
        if "matrix" not in shown:
            resamples = ground.ways.resamples
            shown["each"] = judgement.each_lead(ground.task, judged, shown["leads"], resamples)
        yield replace(result, document=result.document | {"shown": shown})


def _finetuned(ground: Ground, probe: str) -> Iterator[Result]:
    """Train the whole network on each share of labels; blended, a plain model stands beside it."""
    task = ground.task
    if task.view != "whole":
        raise UsageError(f"The task {task.name} joins several embeddings: no fine-tuning.")
    if ground.features.apart:
        raise UsageError(
            "A network of one lead is fine-tuned with one lead.", "Name one with --leads."
        )
    for share in ground.ways.labels:
        judged: list[Judged] = []
        chance: list[Judged] = []
        fits: list[dict[str, Any]] = []
        first: Finetuned | None = None
        for number, draw, split in _fits(ground, share):
            trained = tuned_on(ground, split, draw)
            first = first or trained
            # without a choosing side, what chose the epoch: no weight was fitted to it either
            chose = split.choose if len(split.choose) else trained.validated
            held = _predicted(ground, trained, chose) if len(chose) else None
            answers = _predicted(ground, trained, split.test, ground.tested.plan.names)
            how: dict[str, Any] = {"epoch": trained.epoch}
            if probe == BLENDED:
                answers, held, chosen = _blended(ground, split, draw, answers, held)
                how |= chosen
            judged.append(ground.judged(answers, split.test, held))
            chance.append(ground.judged(_blind(ground, split), split.test, None))
            seconds = trained.training["seconds"]
            fits.append(ground.fit(number, draw, split, seconds, how))
        way = {"probe": probe, "labels": share, "gap": 0.0, "filling": "masked"}
        found = ground.result(way, judged, chance, fits)
        yield replace(found, tuned=first if probe == FINETUNED else None)


def _blended(
    ground: Ground, split: Split, draw: int, answers: Answers, held: Answers | None
) -> tuple[Answers, Answers | None, Mapping[str, Any]]:
    """A network's answers with a plain model's of the embeddings: tested, held out; its choice."""
    kind, seed = ground.task.kind, ground.ways.seed + draw
    sides = ground.examples(split.train), ground.examples(split.choose)
    plain = probes.fit(PLAIN[kind], ground.question, *sides, seed)
    tested = blended(kind, answers, ground.answered(plain, split.test, None))
    # without a choosing side each of the two has held out other rows
    known = ground.held(plain) if len(split.choose) else None
    return tested, blended(kind, held, known) if held and known else None, plain.chosen


def _predicted(
    ground: Ground, trained: "Finetuned", rows: NDArray[np.int64], leads: Sequence[str] = ()
) -> Answers:
    """What a fine-tuned network says; with the leads that it was trained with, or with others."""
    score = np.asarray(trained.predict(ground.store, rows, leads), np.float64)
    predicted = score[:, 0] if ground.task.kind == "values" else score.argmax(1)
    return Answers(ground.target[rows], score, predicted)
