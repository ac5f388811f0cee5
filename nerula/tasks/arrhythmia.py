"""Arrhythmia on the Challenge 2017: normal, atrial fibrillation, another rhythm (and noise).

Clifford et al. 2017, https://doi.org/10.22489/CinC.2017.065-469. Nothing says whose recordings
these are, so splits are by recording; the fixed ones lie in this package by name
(`tools/make_splits.py` drew them). The published validation list is a part of the training set,
and probably what NERULA's paper tested on: the majority answer has an accuracy of 0.569 there.
"""

import lzma
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.tasks.task import Facts, Split, Task, without_twins

FOLDER = Path(__file__).parent / "splits"
FOLDS, VALIDATION = "challenge2017.csv.xz", "challenge2017-validation.csv.xz"
COUNT = 5
"""Folds: each is the test side once, the next one chooses, the other three train."""
LETTERS = ("N", "A", "O", "~")
_PROBES = ("svc", "forest", "logistic", "mlp", "ensemble")
_METRICS = ("accuracy", "macro_f1", "weighted_f1", "auroc", "challenge_f1", "brier")


@lru_cache(maxsize=2)
def stored(name: str) -> dict[str, int]:
    """A stored split: the fold of each recording by its name."""
    text = lzma.decompress((FOLDER / name).read_bytes()).decode()
    return {record: int(fold) for record, fold in (line.split(",") for line in text.split())}


def _target(classes: int) -> Callable[[Facts], NDArray[np.int64]]:
    def target(facts: Facts) -> NDArray[np.int64]:
        number = {letter: place for place, letter in enumerate(LETTERS[:classes])}
        return np.array([number.get(held[0], -1) if held else -1 for held in facts.labels])

    return target


def _main(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    """Five splits, 60 / 20 / 20; every recording is tested once."""
    fold = _folds(facts, FOLDS)
    splits = []
    for test in range(COUNT):
        choose = (test + 1) % COUNT
        train = ~np.isin(fold, (test, choose, -1))
        sides = (np.flatnonzero(counts & side) for side in (train, fold == choose, fold == test))
        splits.append(without_twins(facts, *sides))
    return splits


def _paper(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    """The validation list is the test, everything else the training."""
    test = _folds(facts, VALIDATION) >= 0
    nothing = np.empty(0, np.int64)
    train = np.flatnonzero(counts & ~test)
    return [without_twins(facts, train, nothing, np.flatnonzero(counts & test))]


def _folds(facts: Facts, name: str) -> NDArray[np.int64]:
    known = stored(name)
    return np.array([known.get(record, -1) for record in facts.short], np.int64)


def _task(name: str, title: str, classes: int, paper: bool, protocol: str) -> Task:
    return Task(
        name=name,
        title=title,
        family="challenge2017",
        kind="classes",
        answers=("normal", "fibrillation", "other", "noise")[:classes],
        metrics=_METRICS,
        main="macro_f1",
        probes=_PROBES,
        protocol=protocol,
        target=_target(classes),
        splits=_paper if paper else _main,
        fetch="challenge2017",
        overlap=0.5,
    )


_FIVE = (
    "Five stratified splits by recording, 60 % train, 20 % choose, 20 % test, stored by name; "
    "every recording is tested once; mean over the splits."
)
_LIST = (
    "Fitted on all others, tested on the 260 recordings without noise of the published "
    "validation list, as the paper probably did; A01176, which is A00227 again, is left out."
)

TASKS = (
    _task("arrhythmia", "Arrhythmia, three classes", 3, False, f"Noise left out. {_FIVE}"),
    _task("arrhythmia-4", "Arrhythmia, four classes", 4, False, _FIVE),
    _task("arrhythmia-paper", "Arrhythmia, the paper's test list", 3, True, _LIST),
)
