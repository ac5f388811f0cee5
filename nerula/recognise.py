"""Recognise: whose recording is it, among those of a gallery?"""

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from nerula.errors import UsageError
from nerula.features import Features, Gap
from nerula.gaps import FILLINGS
from nerula.ground import FINETUNED, WHOLE, Ground
from nerula.leads import has_leads
from nerula.likeness import compared
from nerula.metrics import Answers
from nerula.results import Result


def recognised(ground: Ground) -> Iterator[Result]:
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
            fits = [ground.fit(0, 0, split, time.process_time() - began)]
            way = {"probe": probe, "labels": 1.0, "gap": gap.share, "filling": gap.filling}
            yield ground.result(way, judged, None, fits)


def _tuned_on_others(ground: Ground) -> Features:
    """The embeddings of a network that was trained to tell other people apart."""
    from nerula.finetune import finetune

    if ground.task.learners is None:
        raise UsageError(f"In the task {ground.task.name} there is nobody else to learn from.")
    rows = ground.task.learners(ground.facts)
    leads = ground.features.plan.names
    rows = rows[has_leads(ground.store, leads)[rows]]
    _, people = np.unique(ground.facts.people[rows], return_inverse=True)
    how = {"seed": ground.ways.seed, "leads": leads, **ground.ways.tuning}
    trained = finetune(ground.model, ground.store, rows, people, "identity", **how)
    return replace(ground.features, model=trained.model)
