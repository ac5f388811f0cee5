"""Guards of the protocol: what must not happen is refused, by name, before anything is fitted."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerula.errors import NerulaError
from nerula.leakage import shared_subjects
from nerula.tasks.task import FAMILIES, Facts, Rows, Split, Task

SHOWN = 5
CONTAINS = {
    "challenge2020": {"ptb-xl": "ptbxl"},
    "challenge2021": {"ptb-xl": "ptbxl"},
}
"""Collections of data sets: the part that goes by another name of its own."""
UNKNOWN = "none"
"""What provenance calls the fold of recordings that have none."""
CHECKED, CANNOT_SAY, UNVERIFIED = "checked", "unknown", "unverified"
"""What a result says of a model's pretraining: compared with what judges it; said, but of files
that go by names of their own; not said, and believed on demand."""


class LeakError(NerulaError):
    """The protocol would be broken; the figures would mean nothing."""


class UnverifiedError(LeakError):
    """Whether the protocol holds cannot be known."""


def sides_apart(facts: Facts, split: Split, *, strangers: bool = True) -> dict[str, int]:
    """Refuse a split with a subject, or a signal, on two sides; return the counts: zeros.

    Where people are to be recognised they are not `strangers`: both sides have the same ones.
    """
    sides = {"train": split.train, "choose": split.choose, "test": split.test}
    rows = np.concatenate(list(sides.values()))
    names = [side for side, held in sides.items() for _ in held]
    if len(np.unique(rows)) != len(rows):
        twice = facts.name[rows[np.flatnonzero(np.bincount(rows)[rows] > 1)]]
        raise LeakError(f"Recordings on two sides of the split: {_listed(sorted(set(twice)))}.")
    subjects = shared_subjects(facts.subject[rows], names)
    if strangers and subjects:
        listed = [f"{subject} ({', '.join(on)})" for subject, on in sorted(subjects.items())]
        raise LeakError(
            f"Subjects on two sides of the split: {_listed(listed)}.",
            "Split by subject: figures of people that were trained on mean nothing.",
        )
    signals = shared_subjects(facts.digest[rows], names)
    if signals:
        twins = sorted(facts.name[row] for row in rows if facts.digest[row] in signals)
        raise LeakError(
            f"The same signal on two sides of the split: {_listed(twins)}.", "Drop one of each."
        )
    return {"shared_subjects": len(subjects), "shared_signals": len(signals)}


def answerable(task: Task, facts: Facts, target: NDArray[Any], split: Split) -> None:
    """Refuse a split of which nothing can be learned, chosen or judged."""
    sides = {"train": split.train, "choose": split.choose, "are tested": split.test}
    if not len(split.choose) or task.kind == "values":
        del sides["choose"]  # training chooses; or any values tell which errors are small
    for what, rows in sides.items():
        held = target[rows]
        if len(held) and (held != held[0]).any():
            continue
        only = f", {task.answers[held[0]]}" if len(held) and task.kind == "classes" else ""
        raise NerulaError(
            f"The {len(held)} recordings of {task.name} that {what} have one answer at "
            f"most{only}: nothing can be told apart.",
            "Give the whole data set, and its labels.",
        )
    if len(np.unique(facts.people[split.test])) < 2:
        raise NerulaError(
            f"The {len(split.test)} recordings of {task.name} that are tested are of one person: "
            "they say nothing of others.",
            "Give the whole data set.",
        )


class Seen(NamedTuple):
    """What is known of a model's pretraining."""

    status: str
    """`CHECKED`, or `CANNOT_SAY` where its files cannot be compared by name."""
    detail: str


def unseen(
    training: Mapping[str, Any],
    facts: Facts,
    kind: str,
    digest: str,
    judged: Rows,
    *,
    tested: Rows | None = None,
) -> Seen:
    """Refuse a model that was pretrained on recordings it is judged by; return what was checked.

    `training` is the provenance in a model's config, `kind` and `digest` those of the store,
    `judged` the rows that choose and test, `tested` those that test (all, if it is None). A
    provenance that does not say enough is refused too. What a model was before it was trained
    further counts as much. What only chose its epoch may choose again, but not test.
    """
    said, stage = [], training
    while stage:
        said.append(_unseen(stage, facts, kind, digest, judged))
        if chose := stage.get("chosen by"):
            rows = judged if tested is None else tested
            only = _unseen({"data": chose}, facts, kind, digest, rows)
            said[-1] = _joined([said[-1], only], "; its epoch chosen by labels, ")
        stage = stage.get("start", {}).get("training", {})
    return _joined(said or [_unseen(training, facts, kind, digest, judged)], "; before that, ")


def _joined(seen: Sequence[Seen], between: str) -> Seen:
    """Several trainings or data sets: checked only where each is."""
    known = all(one.status == CHECKED for one in seen)
    return Seen(CHECKED if known else CANNOT_SAY, between.join(one.detail for one in seen))


def _unseen(
    training: Mapping[str, Any], facts: Facts, kind: str, digest: str, judged: Rows
) -> Seen:
    """One training."""
    if training.get("steps") == 0:
        return Seen(CHECKED, "untrained: it has seen no recording")
    data = training.get("data")
    if not isinstance(data, Mapping):
        raise _unverified("it does not say what the model was trained on")
    if data.get("parts"):  # a joined store: each data set in it for itself
        each = [_unseen({"data": part}, facts, kind, "", judged) for part in data["parts"]]
        return _joined(each, "; ")
    folds, trained = data.get("folds"), data.get("kind")
    if trained is None and data.get("store") == digest:
        trained = kind
    if trained is None:
        raise _unverified("it does not say which data set the model was trained on")
    if not isinstance(folds, Mapping):
        folds = _asked_folds(training)
    ours = FAMILIES.get(kind, kind)
    parts = CONTAINS.get(str(trained), {})
    if ours in parts.values():
        inside = [part for part in parts if folds is None or part in folds]
        if inside:
            raise LeakError(
                f"The model was pretrained on {trained}, which contains {ours} ({inside[0]}).",
                "Pretrain without that part.",
            )
        return Seen(CHECKED, f"pretrained on {trained} without the part that is {ours}")
    if FAMILIES.get(str(trained), trained) != ours:
        if trained in FAMILIES:
            return Seen(CHECKED, f"pretrained on {trained}, judged on {kind}: different data sets")
        return Seen(
            CANNOT_SAY,
            f"pretrained on files of one's own ({trained}), judged on {kind}: that none of them "
            "is in both cannot be seen from here",
        )
    return Seen(CHECKED, _apart(data.get("without"), folds, (str(trained), kind), facts, judged))


def _apart(
    without: object,
    folds: Mapping[str, Any] | None,
    kinds: tuple[str, str],
    facts: Facts,
    judged: Rows,
) -> str:
    """The same data set trained and judges: by other folds, or without what is judged."""
    trained, kind = kinds
    if without == named(facts, judged):
        return f"pretrained on {trained} without the recordings of {kind} that it is judged by"
    held = {UNKNOWN if fold is None else str(fold) for fold in facts.fold[judged]}
    both = held if folds is None else held & set(folds)
    if both:
        raise LeakError(
            f"The model was pretrained on {trained} with folds {_listed(_in_order(both))}, by "
            "which it would be judged.",
            "Pretrain it without them: nerula pretrain ... --folds 1-8 for PTB-XL.",
        )
    return (
        f"pretrained on {trained} folds {_listed(_in_order(set(folds or ())))}, judged on "
        f"{_listed(_in_order(held))}: none in common"
    )


def named(facts: Facts, rows: Rows) -> str:
    """A digest of the names of recordings, without their folders."""
    names = "\n".join(sorted(facts.short[rows]))
    return hashlib.blake2b(names.encode(), digest_size=16).hexdigest()


def _asked_folds(training: Mapping[str, Any]) -> dict[str, int] | None:
    """The folds of a model whose provenance has only the option; None stands for all."""
    asked = str(training.get("options", {}).get("folds", "all"))
    if asked == "all":
        return None
    folds: dict[str, int] = {UNKNOWN: 0}
    for part in asked.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal():
            folds[part.strip()] = 0
            continue
        folds |= {str(number): 0 for number in range(int(first), int(last or first) + 1)}
    return folds


def _unverified(what: str) -> UnverifiedError:
    return UnverifiedError(
        f"The model's provenance cannot be checked: {what}.",
        "If you know that it has not seen the recordings it is judged by, say --unverified; the "
        "result will say so too.",
    )


def _in_order(folds: set[str]) -> list[str]:
    return sorted(folds, key=lambda fold: (len(fold), fold))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, names[:SHOWN] if more else names)) + more


def split_digest(facts: Facts, splits: Sequence[Split]) -> str:
    """Names which recordings are tested in which split: equal only for the same ones."""
    digest = hashlib.blake2b(digest_size=8)
    for split in splits:
        digest.update("\n".join(facts.name[split.test]).encode() + b"\n\n")
    return digest.hexdigest()
