"""A question of one's own: a table of recordings and what is known of them.

    labels.csv              every column that is neither a name nor a split is asked about
    labels.csv:afib         this one alone
    labels.csv:afib,pvc     several that may hold at once, as zeros and ones

The first column, or the one called `name`, is the recording: its name in the store (the index of
`nerula embed` has it), or the last part of it. A cell that is empty does not count. A column
`subject` says whose it is, where the store does not know. A column `split` may say train, choose
or test; otherwise a store with PTB-XL's folds is split by them, and any other five times by
subject.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError, nearest
from nerula.tasks.person import CHOOSE, TEST, TRAIN, TWO_CLASSES
from nerula.tasks.task import Facts, Kind, Rows, Split, Task, by_folds, without_twins

ENDINGS = {".csv": ",", ".tsv": "\t"}
NAME, SUBJECT, SPLIT = "name", "subject", "split"
SIDES = {"train": 0, "choose": 1, "val": 1, "valid": 1, "validation": 1, "test": 2}
FOLDS = 5
MOST_CLASSES = 20
"""Whole numbers of more kinds than this are values; other words of more kinds are a mistake."""
METRICS: dict[Kind, tuple[str, ...]] = {
    "classes": TWO_CLASSES,
    "labels": ("auroc", "average_precision", "macro_f1", "brier"),
    "values": ("mae", "rmse", "r2"),
}
PROBES: dict[Kind, tuple[str, ...]] = {
    "classes": ("logistic", "forest", "mlp", "ensemble"),
    "labels": ("logistic", "forest", "mlp", "ensemble"),
    "values": ("ridge", "forest", "mlp", "ensemble"),
}


@dataclass(frozen=True)
class Answers:
    """What a table says, by the names of recordings."""

    kind: Kind
    names: tuple[str, ...]
    """Classes, labels, or the one value."""
    of: Mapping[str, tuple[float, ...]]
    """A class number, zeros and ones, or a value; only of recordings that have one."""
    side: Mapping[str, int]
    """0 train, 1 choose, 2 test, where the table says so."""
    subject: Mapping[str, str]
    """Whose they are, where the table says so."""
    path: Path


def is_table(name: str) -> bool:
    """Whether a task's name is a file of labels, perhaps with columns behind it."""
    return _parted(name)[0].suffix.lower() in ENDINGS


def asked(name: str) -> Task:
    """The task that a table makes."""
    path, wanted = _parted(name)
    answers = _answers(path, wanted)
    split = bool(answers.side)
    about = {
        "classes": f"Classes: {', '.join(answers.names)}.",
        "labels": "Several labels may hold; macro means over those that the test side has.",
        "values": f"{answers.names[0]} is a number.",
    }[answers.kind]
    how = (
        f"Split as {path.name} says." if split else
        "Five splits by subject, every recording tested once; PTB-XL by its own folds: "
        "1-8 train, 9 chooses, 10 is tested."
    )  # fmt: skip
    columns = wanted or (() if answers.kind == "classes" else answers.names)
    return Task(
        name=_slug("-".join((path.stem, *columns))),
        title=", ".join(columns) or path.stem,
        family="",
        kind=answers.kind,
        answers=answers.names,
        metrics=METRICS[answers.kind],
        main=METRICS[answers.kind][0],
        probes=PROBES[answers.kind],
        protocol=f"{about} {how}",
        target=lambda facts: _target(answers, facts),
        splits=lambda facts, counts: _splits(answers, facts, counts),
        fetch="",
        subjects=(lambda facts: _subjects(answers, facts)) if answers.subject else None,
        on_sample=True,
    )


def _parted(name: str) -> tuple[Path, tuple[str, ...]]:
    """The file, and the columns that are named behind it."""
    if not Path(name).exists() and ":" in name:
        file, _, columns = name.rpartition(":")
        if Path(file).suffix.lower() in ENDINGS:
            return Path(file), tuple(filter(None, map(str.strip, columns.split(","))))
    return Path(name), ()


def _answers(path: Path, wanted: tuple[str, ...]) -> Answers:
    """Read a table and find out what kind of answer it holds."""
    rows = _read(path)
    head = list(rows[0])
    name = NAME if NAME in head else head[0]
    about = (name, SUBJECT, SPLIT)
    labels = wanted or tuple(one for one in head if one and one not in about)
    for column in labels:
        if column not in head or column in about:
            raise UsageError(f"{path} has no column {column!r} of labels.", nearest(column, head))
    if not labels:
        raise UsageError(f"{path} has no column of labels beside {name}.")
    twice = [one for one, count in Counter(row[name] for row in rows).items() if count > 1]
    if twice:
        raise UsageError(f"{path} has {twice[0]} more than once.")
    said = {row[name]: tuple(row[one].strip() for one in labels) for row in rows}
    said = {recording: cells for recording, cells in said.items() if all(cells)}
    kind, names = _kind(path, labels, list(said.values()))
    place = {name: float(number) for number, name in enumerate(names)}
    read = place.__getitem__ if kind == "classes" else float
    of = {one: tuple(map(read, cells)) for one, cells in said.items()}
    side = {row[name]: _side(path, row[SPLIT]) for row in rows} if SPLIT in head else {}
    subject = {row[name]: row[SUBJECT].strip() for row in rows} if SUBJECT in head else {}
    return Answers(kind, names, of, side, subject, path)


def _read(path: Path) -> list[dict[str, str]]:
    """The rows of a table as words."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter=ENDINGS[path.suffix.lower()], restval=""))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}.") from None
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as a table: {error}.") from error
    if not rows:
        raise UsageError(f"{path} has no rows.")
    if any(None in row for row in rows):
        raise UsageError(f"{path} has rows with more cells than its first line has names.")
    return rows


def _kind(
    path: Path, labels: Sequence[str], cells: Sequence[tuple[str, ...]]
) -> tuple[Kind, tuple[str, ...]]:
    """Classes, labels or values, as the cells tell, and the names of the answers."""
    held = {cell for row in cells for cell in row}
    numbers = [_number(cell) for cell in held]
    if len(labels) > 1:
        if not set(numbers) <= {0.0, 1.0}:
            raise UsageError(
                f"{path}: {', '.join(labels)} are no zeros and ones, which several labels are.",
                f"Ask about one: {path}:{labels[0]}",
            )
        return "labels", tuple(labels)
    known = [number for number in numbers if number is not None]
    if len(known) == len(held):
        if len(held) > MOST_CLASSES or any(number % 1 for number in known):
            return "values", tuple(labels)
        return "classes", tuple(sorted(held, key=float))
    if len(held) > MOST_CLASSES:
        raise UsageError(
            f"{path}: {labels[0]} has {len(held)} different words: too many for classes."
        )
    return "classes", tuple(sorted(held))


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _side(path: Path, word: str) -> int:
    if word.strip().lower() not in SIDES:
        raise UsageError(f"{path}: the split {word!r} is none of train, choose and test.")
    return SIDES[word.strip().lower()]


def _own_names(answers: Answers, facts: Facts) -> list[str]:
    """What the table calls each recording of a store: its whole name, or the last part."""
    short = Counter(facts.short)
    names = [
        whole if whole in answers.of else last if short[last] == 1 else whole
        for whole, last in zip(facts.name, facts.short, strict=True)
    ]
    met = len(answers.of.keys() & set(names))
    if not met:
        example = facts.name[0] if len(facts) else "none at all"
        raise UsageError(
            f"None of the {len(answers.of):,} labelled recordings of {answers.path} is in the "
            f"store, whose names are such as {example}.",
            "Use the names that the index of nerula embed has.",
        )
    return names


def _target(answers: Answers, facts: Facts) -> NDArray[np.float64] | NDArray[np.int64]:
    wide = len(answers.names) if answers.kind == "labels" else 1
    nothing = (np.nan if answers.kind == "values" else -1.0,) * wide
    found = np.array([answers.of.get(one, nothing) for one in _own_names(answers, facts)])
    if answers.kind == "values":
        return found[:, 0]
    return found.astype(np.int64) if answers.kind == "labels" else found[:, 0].astype(np.int64)


def _subjects(answers: Answers, facts: Facts) -> NDArray[np.object_]:
    """Whose recordings they are: as the table says, and where it does not, as the store does."""
    names = _own_names(answers, facts)
    said = [
        answers.subject.get(one) or held for one, held in zip(names, facts.subject, strict=True)
    ]
    return np.array(said, object)


def _splits(answers: Answers, facts: Facts, counts: NDArray[np.bool_]) -> list[Split]:
    if answers.side:
        side = np.array([answers.side.get(one, -1) for one in _own_names(answers, facts)])
        sides = (np.flatnonzero(counts & (side == number)) for number in range(3))
        return [without_twins(facts, *sides)]
    folds = {fold for fold in facts.fold[counts] if fold is not None}
    if CHOOSE | TEST <= folds <= TRAIN | CHOOSE | TEST and all(facts.fold[counts]):
        return by_folds(TRAIN, CHOOSE, TEST)(facts, counts)
    rows = np.flatnonzero(counts)
    target = _target(answers, facts)[rows]
    return [
        without_twins(facts, rows[train], np.empty(0, np.int64), rows[test])
        for train, test in _by_subject(target, facts.people[rows], answers.kind)
    ]


def _by_subject(
    target: NDArray[np.float64] | NDArray[np.int64], people: Rows, kind: Kind
) -> list[tuple[Rows, Rows]]:
    """Five parts by subject, each tested once; of classes, with equal shares where that can be."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    if len(np.unique(people)) < FOLDS:
        raise UsageError(
            f"The labelled recordings are of {len(np.unique(people))} people: too few for "
            f"{FOLDS} splits by subject.",
            f"Label more, or say in a column {SPLIT} who trains and who is tested.",
        )
    if kind == "classes":
        drawn = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
        return list(drawn.split(people, target, people))
    return list(GroupKFold(FOLDS, shuffle=True, random_state=0).split(people, groups=people))


def _slug(words: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", words).strip("-").lower() or "own"
