"""Whose recording is it? Nothing is trained: a gallery of one recording each, a query of each.

Across recordings of a person, which is what counts; and, apart from it and named so, between two
halves or random windows of one recording, where skin, electrodes and posture are the same.
A cosine between embeddings decides, as they are or along the directions that tell the
gallery's recordings apart from each other better than pieces of one. ECG-ID: Lugovaya 2005, https://doi.org/10.13026/C2J01F.
"""

import re

import numpy as np
from numpy.typing import NDArray

from nerula.errors import NerulaError
from nerula.tasks.task import Facts, Rows, Split, Task, View

HELD_OUT = ("9", "10")
"""The folds of PTB-XL whose people no pretraining has met."""
_NONE = np.empty(0, np.int64)


def _known(facts: Facts) -> NDArray[np.int64]:
    return np.array([-1 if one is None else 0 for one in facts.subject], np.int64)


def _known_held_out(facts: Facts) -> NDArray[np.int64]:
    held_out = np.array([fold in HELD_OUT for fold in facts.fold], bool)
    return np.where(held_out, _known(facts), -1)


def _others(facts: Facts) -> Rows:
    """Recordings of people with two or more who are in no fold that is held out."""
    known = (_known(facts) >= 0) & (facts.valid > 0) & (_known_held_out(facts) < 0)
    people = _by_person(facts, known)
    return np.sort([row for rows in people.values() if len(rows) > 1 for row in rows])


def _by_person(facts: Facts, counts: NDArray[np.bool_]) -> dict[str, list[int]]:
    """The rows of each person, in the order of their numbers: rec_2 comes before rec_10."""
    numbers = [[int(digits) for digits in re.findall(r"\d+", name)] for name in facts.name]
    people: dict[str, list[int]] = {}
    for row in sorted(np.flatnonzero(counts), key=lambda row: numbers[row]):
        people.setdefault(facts.subject[row], []).append(int(row))
    return people


def _first_and_second(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    """Gallery: the first recording of each person with two; query: the second."""
    pairs = [rows[:2] for rows in _by_person(facts, counts).values() if len(rows) > 1]
    gallery, query = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    return [_compared(gallery, query)]


def _first(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    """The first recording of each person, which is gallery and query."""
    first = np.array([rows[0] for rows in _by_person(facts, counts).values()], np.int64)
    return [_compared(first, first)]


def _compared(gallery: Rows, query: Rows) -> Split:
    """A split without training: `choose` is the gallery."""
    if len(query) < 2:
        raise NerulaError(
            f"{len(query)} people can be told apart here, which is no task.",
            "Give the whole data set.",
        )
    return Split(_NONE, gallery, query, _NONE)


def _task(
    name: str, title: str, protocol: str, *, ptbxl: bool = False, view: View = "whole"
) -> Task:
    return Task(
        name=name,
        title=title,
        family="ptbxl" if ptbxl else "ecgid",
        kind="identity",
        answers=("person",),
        metrics=("rank1", "eer"),
        main="rank1",
        probes=("discriminant", "centred", "cosine"),
        protocol=protocol,
        target=_known_held_out if ptbxl else _known,
        splits=_first_and_second if view == "whole" else _first,
        fetch="ptbxl100" if ptbxl else "ecgid",
        leads=() if ptbxl else ("I",),
        view=view,
        learners=_others if ptbxl else None,
    )


TASKS = (
    _task(
        "identity",
        "Identity across recordings, ECG-ID",
        "Gallery: the first recording of each person with two or more; query: the second.",
    ),
    _task(
        "identity-ptbxl",
        "Identity across recordings, PTB-XL",
        "People of folds 9 and 10 with two or more recordings where the subject is known. "
        "Gallery: the first; query: the second.",
        ptbxl=True,
    ),
    _task(
        "identity-halves",
        "Identity within one recording, ECG-ID: easy, no evidence of identification",
        "The first recording of each person: its first half is the gallery, its second the query.",
        view="halves",
    ),
    _task(
        "identity-windows",
        "Identity by windows of one recording that overlap, ECG-ID: no evidence of identification",
        "Ten windows of 5 s at random places of each person's first recording; each in turn is "
        "the query, and the nine others of everybody are the gallery. They share samples.",
        view="windows",
    ),
)
