"""Diagnoses of the Challenge 2020, tested in a hospital that nobody has trained on.

Perez Alday et al. 2020, https://doi.org/10.1088/1361-6579/abc960. Nothing says whose recordings
these are, and the Challenge's own test set was never published. A split by hospital has nobody on
two sides: Georgia is tested, all other parts train.
"""

import numpy as np
from numpy.typing import NDArray

from nerula.challenge_score import DIAGNOSES, limits
from nerula.tasks.task import Facts, Split, Task, without_twins

TEST = "georgia"


def _target(facts: Facts) -> NDArray[np.int64]:
    found = [
        [not held_codes.isdisjoint(one.codes) for one in DIAGNOSES.values()]
        for held_codes in map(set, facts.labels)
    ]
    target = np.array(found, np.int64).reshape(len(facts), len(DIAGNOSES))
    target[~facts.labelled] = -1
    return target


def _by_hospital(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    tested = facts.fold == TEST
    train, test = (np.flatnonzero(counts & side) for side in (~tested, tested))
    return [without_twins(facts, train, np.empty(0, np.int64), test)]


TASKS = (
    Task(
        name="diagnoses",
        title="Diagnoses of the Challenge 2020",
        family="challenge2020",
        kind="labels",
        answers=tuple(DIAGNOSES),
        metrics=("auroc", "challenge_score", "average_precision", "macro_f1", "brier"),
        main="auroc",
        probes=("logistic", "forest", "mlp", "ensemble"),
        protocol="By hospital: Georgia is tested, all other parts train, a fifth of which "
        "chooses. 24 scored diagnoses; macro means over those that the test side has.",
        target=_target,
        splits=_by_hospital,
        limits=limits,
        fetch="challenge2020",
    ),
)
