"""Task: a question about recordings, the split on which it is asked, and how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nerula.errors import NerulaError

if TYPE_CHECKING:
    from nerula.store import Store

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["classes", "values", "labels", "identity", "leads"]
View = Literal["whole", "leads", "halves", "windows", "votes"]

FAMILIES: dict[str, str] = {
    "ptbxl100": "ptbxl",
    "ptbxl500": "ptbxl",
    "sample": "ptbxl",
    "challenge2017": "challenge2017",
    "challenge2020": "challenge2020",
    "challenge2021": "challenge2020",
    "ucihar": "ucihar",
    "ecgid": "ecgid",
}
"""What a source was recognised as, to the data set that it is or is a part of."""


@dataclass(frozen=True, eq=False)
class Facts:
    """What a store says of its recordings: one row each, None or NaN where nothing is known."""

    name: NDArray[np.object_]
    subject: NDArray[np.object_]
    age: NDArray[np.float32]
    sex: NDArray[np.object_]
    labels: NDArray[np.object_]
    fold: NDArray[np.object_]
    digest: NDArray[np.object_]
    valid: NDArray[np.float32]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, store: "Store") -> "Facts":
        """Read the columns of a store."""
        return cls(**{field.name: store.column(field.name) for field in fields(cls)})

    def __len__(self) -> int:
        return len(self.name)

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """A number for each subject; a recording of nobody known is somebody of its own."""
        numbers: dict[str, int] = {}
        keys = (
            f"name {name}" if subject is None else f"subject {subject}"
            for name, subject in zip(self.name, self.subject, strict=True)
        )
        return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)

    @cached_property
    def short(self) -> NDArray[np.object_]:
        """The last part of each name: a record's own number, wherever its folder lies."""
        return np.array([name.rpartition("/")[2] for name in self.name], object)

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Which recordings have a label at all: without a report nothing is known to be absent."""
        return np.array([len(held) > 0 for held in self.labels], bool)

    def any_of(self, statements: frozenset[str] | set[str]) -> NDArray[np.bool_]:
        """Which recordings have one of these labels."""
        return np.array([not statements.isdisjoint(held) for held in self.labels], bool)


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a store on three sides. Where `choose` is empty, a part of `train` takes its place.

    `dropped` are rows kept out of training because the same signal is on another side.
    """

    train: Rows
    choose: Rows
    test: Rows
    dropped: Rows

    @property
    def all(self) -> tuple[Rows, Rows, Rows]:
        """The three sides."""
        return self.train, self.choose, self.test


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked, of which recordings, on which split, and what the answer is measured by."""

    name: str
    title: str
    family: str
    """The data set, as `FAMILIES` calls it; any, where empty."""
    kind: Kind
    answers: tuple[str, ...]
    """Classes, statements, or the one unit of values."""
    metrics: tuple[str, ...]
    main: str
    """The metric by which hyper-parameters are chosen, and which stands first."""
    probes: tuple[str, ...]
    protocol: str
    """The protocol in a sentence or two."""
    target: Callable[[Facts], NDArray[Any]]
    """Class numbers, or rows of 0 and 1 (-1: does not count), or values (NaN: does not count)."""
    splits: Callable[[Facts, NDArray[np.bool_]], list[Split]]
    """The splits of the recordings that count."""
    fetch: str
    """What `nerula fetch` calls the data."""
    limits: Callable[[Floats, Floats], Floats] | None = None
    """Of labels, from truth and scores of the training side: above what each is given; where None,
    above what has its best F1."""
    leads: tuple[str, ...] = ()
    """Which signals of the data; where empty, the model's own."""
    view: View = "whole"
    """Recordings as they are; each lead on its own, joined afterwards; halves apart, or windows
    at random places; or halves that vote."""
    overlap: float = 0.0
    """Share of a window that the next one repeats; the last one ends with the recording."""
    learners: Callable[[Facts], Rows] | None = None
    """Of people who are to be recognised: the recordings of others, from whom to learn how."""
    subjects: Callable[[Facts], NDArray[np.object_]] | None = None
    """Whose recordings they are, where somebody knows more than the store."""
    on_sample: bool = False
    """Whether the bundled sample will do for a first look."""

    @property
    def trained(self) -> bool:
        """Whether a probe is fitted, on labels of which there may be fewer."""
        return self.kind not in ("identity", "leads")

    @property
    def within(self) -> bool:
        """Whether both sides of a comparison are one recording."""
        return self.view in ("halves", "windows")

    @property
    def votes(self) -> int:
        """How many examples a recording is, whose answers are averaged: two halves, or one."""
        return 2 if self.view == "votes" else 1

    def facts(self, store: "Store") -> Facts:
        """What is known of the recordings."""
        found = Facts.of(store)
        return replace(found, subject=self.subjects(found)) if self.subjects else found

    def suits(self, kind: str) -> bool:
        """Whether it can be asked of what was recognised as this."""
        if kind == "sample" and not self.on_sample:
            return False
        return self.family in ("", FAMILIES.get(kind, kind))

    def counts(self, facts: Facts, target: NDArray[Any]) -> NDArray[np.bool_]:
        """Which recordings have an answer and hold any signal."""
        match self.kind:
            case "values":
                answered = np.isfinite(target)
            case "labels":
                answered = (target >= 0).all(axis=1)
            case _:
                answered = target >= 0
        return np.asarray(answered & (facts.valid > 0) & (facts.length > 0), bool)


def by_folds(
    train: set[str], choose: set[str], test: set[str]
) -> Callable[[Facts, NDArray[np.bool_]], list[Split]]:
    """The split that a data set's own folds make."""

    def split(facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
        sides = [
            np.flatnonzero(counts & np.array([fold in folds for fold in facts.fold], bool))
            for folds in (train, choose, test)
        ]
        return [without_twins(facts, *sides)]

    return split


def without_twins(facts: Facts, train: Rows, choose: Rows, test: Rows) -> Split:
    """A split whose training side holds no signal that another side holds too."""
    elsewhere = set(facts.digest[np.concatenate((choose, test))])
    twin = np.array([digest in elsewhere for digest in facts.digest[train]], bool)
    if not len(train) or not len(test):
        raise NerulaError(
            f"Of {len(facts)} recordings {len(train)} are for training and {len(test)} for the "
            "test: this is not the data set of the task, or too small a part of it.",
            "Give the whole data set.",
        )
    return Split(train[~twin], choose, test, train[twin])
