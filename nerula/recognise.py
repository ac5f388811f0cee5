"""Recognise: whose recording is it, among those of a gallery?"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from nerula.errors import UsageError
from nerula.features import WINDOWS, Features, Gap
from nerula.gaps import FILLINGS
from nerula.ground import FINETUNED, WHOLE, Ground
from nerula.leads import has_leads
from nerula.likeness import Array, compared
from nerula.metrics import Answers, Floats
from nerula.results import Result
from nerula.tasks import Split
from nerula.tasks.task import Rows


def recognised(ground: Ground) -> Iterator[Result]:
    """Compare every query with the whole gallery; nothing is trained."""
    (split,) = ground.splits
    cases = [WHOLE, *(Gap(share, how) for share in ground.ways.gaps for how in FILLINGS)]
    for probe in ground.ways.asked(ground.task):
        features = _tuned_on_others(ground) if probe == FINETUNED else ground.features
        for gap in cases:
            judged, fits, began = [], [], time.process_time()
            for draw, score in enumerate(_scores(features, probe, split, gap)):
                answers = Answers(np.arange(len(score)), score, score.argmax(1))
                judged.append(ground.judged(answers, split.test, None))
                fits.append(ground.fit(0, draw, split, time.process_time() - began))
                began = time.process_time()
            way = {"probe": probe, "labels": 1.0, "gap": gap.share, "filling": gap.filling}
            yield ground.result(way, judged, None, fits)


def _scores(features: Features, probe: str, split: Split, gap: Gap) -> Iterator[Floats]:
    """(queries, people) of every draw: how alike a query and each person's gallery are."""
    people = len(split.test)
    gallery = features.of(split.choose)
    query = features.of(split.test, None if gap is WHOLE else gap)
    match features.task.view:
        case "halves":
            gallery, query = np.hsplit(gallery, 2)[0], np.hsplit(query, 2)[1]
            yield compared(probe, gallery, query, partial(features.pieces, split.choose, 0.5))
        case "windows":
            known, asked = (one.reshape(people, WINDOWS, -1) for one in (gallery, query))
            whose = np.repeat(np.arange(people), WINDOWS - 1)
            for draw in range(WINDOWS):
                others = np.delete(known, draw, axis=1).reshape(len(whose), -1)
                score = compared(probe, others, asked[:, draw], partial(_known, others, whose))
                yield score.reshape(people, people, -1).max(axis=2)
        case _:
            yield compared(probe, gallery, query, partial(features.pieces, split.choose))


def _known(gallery: Array, whose: Rows) -> tuple[Array, Rows]:
    """Pieces of the gallery, where it is itself made of pieces."""
    return gallery, whose


def _tuned_on_others(ground: Ground) -> Features:
    """The embeddings of a network that was trained to tell other people apart."""
    from nerula.finetune import finetune

    if ground.task.learners is None:
        raise UsageError(f"In the task {ground.task.name} there is nobody else to learn from.")
    rows = ground.task.learners(ground.facts)
    leads = ground.features.plan.names
    rows = rows[has_leads(ground.store, leads)[rows]]
    _, people = np.unique(ground.facts.people[rows], return_inverse=True)
    ways = ground.ways
    how = {"seed": ways.seed, "leads": leads, "told": ways.told, **ways.tuning}
    trained = finetune(ground.model, ground.store, rows, people, "identity", **how)
    return replace(ground.features, model=trained.model)
