"""Tasks: counts that the literature knows, splits that never change, and every leak refused."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nerula import guards, sample
from nerula.errors import NerulaError, UsageError
from nerula.fewer import subset
from nerula.readers import challenge2017, open_source, ptbxl, ptbxl_table, ucihar
from nerula.tasks import TASKS, Facts, Split, find
from nerula.tasks.arrhythmia import COUNT, FOLDS, VALIDATION, stored
from nerula.tasks.infarction import INFARCTION

Shared = Callable[[str], Path]
EXPECTED = [0, 1, 0, 3, 3, 0, 3, 3, 0]
"""Folds of the first nine recordings, as they were drawn once and for all."""
TWINS = [("A00227", "A01176"), ("A02656", "A03123")]


def facts_of(rows: list[dict[str, Any]]) -> Facts:
    """Facts without signals: the digest is the name."""

    def column(name: str, default: Any = None) -> NDArray[np.object_]:
        found = np.empty(len(rows), object)
        found[:] = [row.get(name, default) for row in rows]
        return found

    return Facts(
        name=column("name"),
        subject=column("subject"),
        age=np.array([np.nan if (age := row.get("age")) is None else age for row in rows]),
        sex=column("sex"),
        labels=column("labels", []),
        fold=column("fold"),
        digest=np.array([row.get("digest", row["name"]) for row in rows], object),
        valid=np.array([row.get("valid", 1.0) for row in rows]),
        length=np.full(len(rows), 1000),
    )


@pytest.fixture(scope="module")
def bundled() -> Facts:
    source = sample.load()
    rows = [
        {**facts._asdict(), "labels": list(facts.labels), "name": name}
        for name, facts in zip(source.names, source.facts, strict=True)
    ]
    return facts_of(rows)


@pytest.fixture(scope="module")
def ptb(shared_data: Shared) -> Facts:
    """All of PTB-XL's table."""
    source = open_source(shared_data("ptbxl"))
    assert isinstance(source, ptbxl.PTBXL)
    understood = {
        name: ptbxl_table.understand(row, source.root, source.root)._asdict()
        for name, row in source.table.items()
    }
    return facts_of([{**facts, "name": name} for name, facts in understood.items()])


@pytest.fixture(scope="module")
def challenge(shared_data: Shared) -> Facts:
    """The whole Challenge 2017, with the real digests of those known to be twins."""
    source = open_source(shared_data("cinc2017"))
    assert isinstance(source, challenge2017.Challenge2017)
    double = {name for pair in TWINS for name in pair}
    rows = []
    for entry in source.entries():
        short = entry.path.stem
        digest = str(hash(source.read(entry).x.tobytes())) if short in double else short
        rows.append({"name": entry.name, "labels": [source.labels[short]], "digest": digest})
    return facts_of(rows)


@pytest.fixture(scope="module")
def motion(shared_data: Shared) -> Facts:
    source = open_source(shared_data("ucihar"))
    assert isinstance(source, ucihar.UCIHAR)
    return facts_of(
        [
            {"name": f"{part}/{row:04d}", "subject": subject, "labels": [activity], "fold": part}
            for part, facts in source.facts.items()
            for row, (subject, activity) in enumerate(facts)
        ]
    )


def drawn(name: str, facts: Facts) -> tuple[NDArray[Any], list[Split]]:
    task = find(name)
    target = task.target(facts)
    return target, task.splits(facts, task.counts(facts, target))


# --- counts ----------------------------------------------------------------------------------


@pytest.mark.shared
def test_challenge_counts_and_folds(challenge: Facts) -> None:
    target, splits = drawn("arrhythmia", challenge)
    assert (target >= 0).sum() == 8249
    assert Counter(target.tolist()) == {0: 5076, 1: 758, 2: 2415, -1: 279}
    assert len(splits) == COUNT
    tested = np.concatenate([split.test for split in splits])
    assert len(tested) == len(np.unique(tested)) == 8249
    for split in splits:
        shares = np.array([len(rows) for rows in split.all]) / 8249
        assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.001)
        for rows in split.all:
            classes = np.bincount(target[rows]) / len(rows)
            assert classes == pytest.approx(np.array([5076, 758, 2415]) / 8249, abs=0.002)
        assert not len(split.dropped)
        guards.sides_apart(challenge, split)
    four, _ = drawn("arrhythmia-4", challenge)
    assert (four >= 0).sum() == 8528


@pytest.mark.shared
def test_the_papers_test_list(challenge: Facts) -> None:
    target, (split,) = drawn("arrhythmia-paper", challenge)
    assert len(split.test) == 260
    assert np.bincount(target[split.test]).max() / 260 == pytest.approx(0.569, abs=5e-4)
    assert len(split.train) + len(split.dropped) == 7989
    assert challenge.short[split.dropped].tolist() == ["A01176"]
    guards.sides_apart(challenge, split)


def test_the_stored_folds_are_what_they_were() -> None:
    folds = stored(FOLDS)
    assert len(folds) == 8528
    assert max(Counter(folds.values()).values()) - min(Counter(folds.values()).values()) <= 2
    assert all(folds[a] == folds[b] for a, b in TWINS)
    assert [folds[f"A0000{number}"] for number in range(1, 10)] == EXPECTED
    assert len(stored(VALIDATION)) == 300
    assert set(stored(VALIDATION)) < set(folds)


@pytest.mark.shared
def test_ptbxl_counts_and_folds(ptb: Facts) -> None:
    """Counts of PTB-XL 1.0.3 as published: 9,514 normal, 5,469 with infarction."""
    assert len(ptb) == 21799
    assert ptb.any_of({"NORM"}).sum() == 9514
    assert abs(int(ptb.any_of(INFARCTION).sum()) - 5469) <= 1
    target, (split,) = drawn("sex", ptb)
    assert [len(rows) for rows in split.all] == [17418, 2183, 2198]
    assert (target >= 0).all()
    assert Counter(target.tolist()) == {0: 11354, 1: 10445}
    _, (aged,) = drawn("age", ptb)
    assert sum(len(rows) for rows in aged.all) == 21799 - 92 == np.isfinite(ptb.age).sum()
    normal, (against,) = drawn("infarction-norm", ptb)
    assert Counter(normal.tolist())[0] == 9513  # one is called normal and infarction
    assert all((normal[rows] >= 0).all() for rows in against.all)
    statements, _ = drawn("statements", ptb)
    assert statements.shape == (21799, 31)
    assert statements[:, 0].sum() == 16748
    for one in (split, aged, against):
        assert guards.sides_apart(ptb, one) == {"shared_subjects": 0, "shared_signals": 0}


@pytest.mark.shared
def test_motion_counts_and_people(motion: Facts) -> None:
    _, (split,) = drawn("activity", motion)
    assert (len(split.train), len(split.choose), len(split.test)) == (7352, 0, 2947)
    people = [len(set(motion.subject[rows])) for rows in (split.train, split.test)]
    assert people == [21, 9]
    guards.sides_apart(motion, split)


@pytest.mark.shared
def test_identity_pairs(ptb: Facts, shared_data: Shared) -> None:
    _, (split,) = drawn("identity-ptbxl", ptb)
    assert len(split.test) == 48
    assert (ptb.subject[split.choose] == ptb.subject[split.test]).all()
    assert len(set(ptb.subject[split.test])) == 48
    assert set(ptb.fold[split.test]) | set(ptb.fold[split.choose]) <= {"9", "10"}
    entries = open_source(shared_data("ecgid")).entries()
    people = facts_of(
        [{"name": one.name, "subject": one.name.partition("/")[0]} for one in entries]
    )
    _, (across,) = drawn("identity", people)
    assert len(across.test) == 89  # Person_74 has one recording only
    assert people.name[across.choose[:2]].tolist() == ["Person_01/rec_1", "Person_02/rec_1"]
    assert people.name[across.test[:2]].tolist() == ["Person_01/rec_2", "Person_02/rec_2"]
    _, (within,) = drawn("identity-halves", people)
    assert len(within.test) == 90


def test_the_sample_has_every_task_that_says_so(bundled: Facts) -> None:
    for task in TASKS.values():
        if task.on_sample:
            target = task.target(bundled)
            (split,) = task.splits(bundled, task.counts(bundled, target))
            assert all(len(rows) for rows in split.all)
            guards.sides_apart(bundled, split)


def test_age_and_sex_that_are_not_known_do_not_count(bundled: Facts) -> None:
    sex, age = bundled.sex.copy(), bundled.age.copy()
    sex[::7], age[::5] = None, np.nan
    facts = replace(bundled, sex=sex, age=age)
    for name, known in (("sex", sex != None), ("age", np.isfinite(age))):  # noqa: E711
        _, (split,) = drawn(name, facts)
        assert known[np.concatenate(split.all)].all()
        assert sum(map(len, split.all)) == known.sum()


def test_recordings_without_a_report_do_not_count(bundled: Facts) -> None:
    labels = bundled.labels.copy()
    labels[::7] = [[] for _ in labels[::7]]
    facts = replace(bundled, labels=labels)
    for name in ("infarction", "infarction-norm", "statements"):
        _, (split,) = drawn(name, facts)
        assert not np.isin(np.arange(0, len(facts), 7), np.concatenate(split.all)).any()


def test_names_that_are_not_known_get_a_hint() -> None:
    with pytest.raises(UsageError, match="Did you mean arrhythmia"):
        find("arhythmia")


# --- leaks -----------------------------------------------------------------------------------


def split_of(*sides: list[int]) -> Split:
    return Split(*(np.array(side, np.int64) for side in sides), np.empty(0, np.int64))


def test_a_subject_on_two_sides_is_refused_by_name(bundled: Facts) -> None:
    _, (split,) = drawn("sex", bundled)
    subject = bundled.subject.copy()
    subject[split.test[3]] = subject[split.train[5]]
    with pytest.raises(guards.LeakError, match=f"{subject[split.train[5]]} .test, train"):
        guards.sides_apart(replace(bundled, subject=subject), split)
    subject = bundled.subject.copy()
    subject[split.choose[3]] = subject[split.train[5]]
    with pytest.raises(guards.LeakError, match="choose, train"):
        guards.sides_apart(replace(bundled, subject=subject), split)


def test_a_recording_on_two_sides_is_refused_by_name(bundled: Facts) -> None:
    with pytest.raises(guards.LeakError, match=bundled.name[7]):
        guards.sides_apart(bundled, split_of([1, 7], [2], [3, 7]))


def test_a_signal_on_two_sides_is_refused_or_dropped(bundled: Facts) -> None:
    _, (split,) = drawn("sex", bundled)
    digest = bundled.digest.copy()
    twin, other = split.train[5], split.test[3]
    digest[twin] = digest[other]
    facts = replace(bundled, digest=digest)
    with pytest.raises(guards.LeakError, match=bundled.name[twin]):
        guards.sides_apart(facts, split)
    _, (drawn_again,) = drawn("sex", facts)
    assert drawn_again.dropped.tolist() == [twin]
    assert guards.sides_apart(facts, drawn_again)["shared_signals"] == 0


@pytest.mark.parametrize(
    ("side", "said"),
    [("train", "that train have"), ("choose", "that choose have"), ("test", "that are tested")],
)
def test_a_side_with_one_answer_is_refused(bundled: Facts, side: str, said: str) -> None:
    task = find("sex")
    target, (split,) = drawn("sex", bundled)
    guards.answerable(task, bundled, target, split)
    target[getattr(split, side)] = 1
    with pytest.raises(NerulaError, match=f"{said}.*female: nothing can be told apart"):
        guards.answerable(task, bundled, target, split)


@pytest.mark.parametrize("name", ["age", "statements"])
def test_values_and_labels_that_never_differ_are_refused(bundled: Facts, name: str) -> None:
    target, (split,) = drawn(name, bundled)
    guards.answerable(find(name), bundled, target, split)
    target[split.test] = 1
    with pytest.raises(NerulaError, match="that are tested have one answer at most:"):
        guards.answerable(find(name), bundled, target, split)


def test_a_side_that_holds_nothing_is_refused_unless_it_would_choose(bundled: Facts) -> None:
    target, (split,) = drawn("sex", bundled)
    nothing = np.empty(0, np.int64)
    guards.answerable(find("sex"), bundled, target, replace(split, choose=nothing))
    with pytest.raises(NerulaError, match="0 recordings of sex that train"):
        guards.answerable(find("sex"), bundled, target, replace(split, train=nothing))


def test_one_person_says_nothing_of_others(bundled: Facts) -> None:
    target, (split,) = drawn("sex", bundled)
    subject = bundled.subject.copy()
    subject[split.test] = "the only one"
    with pytest.raises(NerulaError, match=r"120 recordings of sex .* of one person"):
        guards.answerable(find("sex"), replace(bundled, subject=subject), target, split)


def test_another_data_set_has_nothing_to_split(bundled: Facts) -> None:
    for name in ("arrhythmia", "activity"):
        with pytest.raises(NerulaError, match="not the data set"):
            drawn(name, bundled)


def seen(bundled: Facts, data: dict[str, Any] | None, folds: tuple[str, ...] = ("9", "10"),
         kind: str = "ptbxl100", **more: Any) -> str:  # fmt: skip
    rows = np.flatnonzero(np.isin(bundled.fold, folds))
    training = more | ({} if data is None else {"data": data})
    found = guards.unseen(training, bundled, kind, "abc", rows)
    assert found.status == guards.CHECKED
    return found.detail


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "ptbxl100", "folds": {"1": 100, "9": 1}},
        {"kind": "ptbxl500", "folds": {"10": 100}},
        {"kind": "sample", "folds": {str(fold): 5 for fold in range(1, 11)}},
        {"kind": "challenge2020", "folds": {"georgia": 5, "ptb-xl": 100}},
        {"kind": "challenge2021", "folds": {"ptb-xl": 100}},
        {"kind": "challenge2020"},
        {"kind": "ptbxl100"},
    ],
)
def test_a_model_that_saw_the_judged_folds_is_refused(
    bundled: Facts, data: dict[str, Any]
) -> None:
    with pytest.raises(guards.LeakError, match="was pretrained on"):
        seen(bundled, data)


@pytest.mark.parametrize(
    "data",
    [
        {"kind": "ptbxl100", "folds": {str(fold): 100 for fold in range(1, 9)}},
        {"kind": "challenge2020", "folds": {"georgia": 5}},
        {"kind": "challenge2017", "folds": {"none": 8528}},
        {"parts": [{"kind": "challenge2017"}, {"kind": "ptbxl100", "folds": {"1": 9}}]},
    ],
)
def test_a_model_that_saw_others_is_not(bundled: Facts, data: dict[str, Any]) -> None:
    assert "pretrained on" in seen(bundled, data)


OWN = {"kind": "folder", "folds": {"none": 10}}


@pytest.mark.parametrize(
    "training",
    [
        {"data": OWN},
        {"data": {"parts": [{"kind": "challenge2017"}, OWN]}},
        {"data": {"kind": "challenge2017"}, "start": {"training": {"data": OWN}}},
        {"data": OWN, "start": {"training": {"steps": 0}}},
    ],
)
def test_files_of_ones_own_are_neither_refused_nor_called_checked(
    bundled: Facts, training: dict[str, Any]
) -> None:
    rows = np.flatnonzero(bundled.fold == "10")
    found = guards.unseen(training, bundled, "ptbxl100", "abc", rows)
    assert found.status == guards.CANNOT_SAY == "unknown"
    assert "cannot be seen from here" in found.detail


def test_provenance_of_older_runs_says_enough_for_the_same_store(bundled: Facts) -> None:
    older = {"store": "abc", "recordings": 17418}
    assert "none in common" in seen(bundled, older, options={"folds": "1-8"})
    with pytest.raises(guards.LeakError, match="folds 9"):
        seen(bundled, older, options={"folds": "1-9"})
    with pytest.raises(guards.LeakError, match="was pretrained on"):
        seen(bundled, older, options={"folds": "all"})
    with pytest.raises(guards.UnverifiedError, match="which data set"):
        seen(bundled, older | {"store": "other"}, options={"folds": "1-8"})
    with pytest.raises(guards.UnverifiedError, match="--unverified"):
        seen(bundled, None)
    assert "no recording" in seen(bundled, None, steps=0)


def test_what_chose_an_epoch_may_choose_again_but_not_test(bundled: Facts) -> None:
    known = {"kind": "ptbxl100", "folds": {"1": 900}}
    training = {"data": known, "chosen by": known | {"folds": {"9": 100}}}
    nine, ten = (np.flatnonzero(bundled.fold == fold) for fold in ("9", "10"))
    both = np.concatenate([nine, ten])
    found = guards.unseen(training, bundled, "ptbxl100", "abc", both, tested=ten)
    assert found.status == guards.CHECKED
    assert "epoch chosen by labels" in found.detail
    for tested in (nine, None):
        with pytest.raises(guards.LeakError, match="folds 9"):
            guards.unseen(training, bundled, "ptbxl100", "abc", both, tested=tested)
    fitted = {"data": known | {"folds": {"9": 100}}}
    with pytest.raises(guards.LeakError, match="folds 9"):
        guards.unseen(fitted, bundled, "ptbxl100", "abc", both, tested=ten)


def test_without_folds_the_same_data_set_is_refused() -> None:
    facts = facts_of([{"name": f"A0000{i}", "labels": ["N"]} for i in range(1, 9)])
    with pytest.raises(guards.LeakError, match="challenge2017"):
        guards.unseen(
            {"data": {"kind": "challenge2017", "folds": {"none": 8}}},
            facts, "challenge2017", "abc", np.arange(4),
        )  # fmt: skip


# --- fewer labels ----------------------------------------------------------------------------


def test_fewer_labels_are_nested_stratified_and_by_subject(bundled: Facts) -> None:
    target, (split,) = drawn("sex", bundled)
    rows = split.train
    subject = bundled.subject.copy()
    subject[rows[:300]] = [f"pair {i // 2}" for i in range(300)]  # many with two recordings
    people, held = replace(bundled, subject=subject).people[rows], target[rows]
    for draw in range(3):
        larger = rows
        for share in (0.5, 0.1, 0.01):
            smaller = subset(rows, people, held, share, draw)
            assert set(smaller) < set(larger)
            inside = np.isin(rows, smaller)
            assert not set(people[inside]) & set(people[~inside])
            if share >= 0.1:
                assert held[inside].mean() == pytest.approx(held.mean(), abs=0.1)
                assert inside.mean() == pytest.approx(share, rel=0.15)
            assert set(held[inside]) == {0, 1}
            larger = smaller
    draws = [tuple(subset(rows, people, held, 0.1, draw)) for draw in range(5)]
    assert len(set(draws)) == 5
    assert subset(rows, people, held, 1.0, 3) is rows


def test_shares_of_a_few_people_are_of_their_recordings() -> None:
    rows, people = np.arange(2100), np.repeat(np.arange(21), 100)
    target = rows % 6
    smaller = subset(rows, people, target, 0.01, 0)
    larger = subset(rows, people, target, 0.1, 0)
    assert (len(smaller), len(larger)) == (24, 210)  # of 350 in each class 4 and 35
    assert set(smaller) < set(larger)
    assert np.bincount(target[smaller]).tolist() == [4] * 6
