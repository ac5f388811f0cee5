"""Labels of one's own: a table becomes a task, and what it taught is said of new recordings."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from nerula import bundle, probes, sample
from nerula.cli import main
from nerula.compare import compare
from nerula.contract import Contract
from nerula.errors import UsageError
from nerula.prepare import Options, make_store
from nerula.probe import probe
from nerula.recording import Recording
from nerula.schema import HEAD
from nerula.store import Store
from nerula.tasks import Facts, find
from nerula.writer import StoreWriter

COUNT = 60
ROWS = range(COUNT)


@pytest.fixture(scope="module", autouse=True)
def _little_work() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nerula.finetune.LEAST_STEPS", 2)
        patch.setattr("nerula.bootstrap.RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """60 recordings of 20 people without folds: every third one beats twice as fast."""
    folder = tmp_path_factory.mktemp("own") / "store"
    random = np.random.default_rng(0)
    with StoreWriter(folder, Contract(leads=("II",), rate=100.0)) as writer:
        for row in ROWS:
            pace = (2.0 if row % 3 == 0 else 1.0) * random.uniform(0.9, 1.1)
            beat = (np.arange(1000) / 100 * pace + random.random()) % 1 - 0.5
            x = (np.exp(-(beat**2) / 0.002) + 0.02 * random.normal(size=1000))[None]
            whose = {"subject": f"s{row % 20}"}
            valid = np.ones(x.shape, bool)
            one = Recording(
                f"ward/{row:03d}", x.astype(np.float32), 100.0, ("II",), valid, **whose
            )
            writer.add(one)
    return Store.open(folder)


def table(path: Path, columns: dict[str, Sequence[Any]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def speeds(path: Path, **more: Sequence[Any]) -> Path:
    said = ["fast" if row % 3 == 0 else "" if row == 1 else "slow" for row in ROWS]
    return table(path, {"recording": [f"{row:03d}" for row in ROWS], "speed": said, **more})


def test_a_column_of_words_is_a_question_of_classes(tmp_path: Path, store: Store) -> None:
    task, facts = find(str(speeds(tmp_path / "speeds.csv"))), Facts.of(store)
    assert (task.kind, task.answers, task.name) == ("classes", ("fast", "slow"), "speeds")
    target = task.target(facts)
    counts = task.counts(facts, target)
    assert target[:4].tolist() == [0, -1, 1, 0]
    splits = task.splits(facts, counts)
    assert sorted(np.concatenate([one.test for one in splits])) == sorted(set(ROWS) - {1})
    for one in splits:
        assert not set(facts.people[one.train]) & set(facts.people[one.test])
        assert 0.2 < (target[one.test] == 0).mean() < 0.5  # as many as elsewhere


@pytest.mark.parametrize(
    ("columns", "kind", "answers", "name"),
    [
        ({"age": [20.5 + row for row in ROWS]}, "values", ("age",), "own-age"),
        ({"age": list(ROWS)}, "values", ("age",), "own-age"),
        ({"grade": [row % 4 for row in ROWS]}, "classes", ("0", "1", "2", "3"), "own"),
        ({"af": [row % 2 for row in ROWS], "pvc": [0] * 59 + [1]}, "labels", ("af", "pvc"),
         "own-af-pvc"),
    ],
)  # fmt: skip
def test_the_cells_say_what_kind_of_question_it_is(
    tmp_path: Path, store: Store, columns: dict[str, Any], kind: str, answers: Any, name: str
) -> None:
    path = table(tmp_path / "own.tsv", {"other": ROWS, "name": store.column("name"), **columns})
    task = find(f"{path}:{','.join(columns)}")
    assert (task.kind, task.answers) == (kind, answers)
    assert task.name.startswith(name)
    target = task.target(Facts.of(store))
    assert len(target) == COUNT
    assert (target >= 0).all()
    assert set(task.metrics) >= {task.main}


def test_a_split_that_the_table_says_is_kept(tmp_path: Path, store: Store) -> None:
    side = ["train" if row % 20 < 12 else "Val" if row % 20 < 16 else "test" for row in ROWS]
    task, facts = find(str(speeds(tmp_path / "speeds.csv", split=side))), Facts.of(store)
    (split,) = task.splits(facts, task.counts(facts, task.target(facts)))
    assert [len(one) for one in split.all] == [35, 12, 12]
    assert "as speeds.csv says" in task.protocol


def test_whose_recordings_they_are_the_table_may_say(tmp_path: Path, store: Store) -> None:
    """Seven people instead of twenty are never on two sides; three are too few for five splits."""
    who = [f"p{row % 7}" for row in ROWS]
    task, facts = find(str(speeds(tmp_path / "speeds.csv", subject=who))), Facts.of(store)
    assert task.answers == ("fast", "slow")
    known = task.facts(store)
    assert known.subject.tolist() == who
    for one in task.splits(known, task.counts(known, task.target(facts))):
        assert not {who[row] for row in one.train} & {who[row] for row in one.test}
    few = find(str(speeds(tmp_path / "few.csv", subject=[f"p{row % 3}" for row in ROWS])))
    known = few.facts(store)
    with pytest.raises(UsageError, match="of 3 people: too few"):
        few.splits(known, few.counts(known, few.target(known)))


def test_ptb_xl_is_split_by_its_own_folds(tmp_path: Path) -> None:
    make_store(sample.load(), tmp_path / "sample", Options(leads=("II",)))
    store = Store.open(tmp_path / "sample")
    names = store.column("name")
    path = table(tmp_path / "odd.csv", {"name": names, "odd": np.arange(len(names)) % 2})
    task, facts = find(str(path)), Facts.of(store)
    (split,) = task.splits(facts, task.counts(facts, task.target(facts)))
    assert {facts.fold[row] for row in split.test} == {"10"}
    assert {facts.fold[row] for row in split.choose} == {"9"}


@pytest.mark.parametrize(
    ("columns", "asked", "words"),
    [
        ({"name": ["a", "a"], "x": [0, 1]}, "", "a more than once"),
        ({"name": ["a", "b"]}, "", "no column of labels"),
        ({"name": ["a", "b"], "x": [0, 1]}, ":y", "no column 'y'"),
        ({"name": ["a", "b"], "x": [0, 1], "y": [3, 4]}, "", "no zeros and ones"),
        ({"name": range(30), "x": [f"w{row}" for row in range(30)]}, "", "too many for classes"),
        ({"name": ["a"], "x": [1], "split": ["later"]}, "", "none of train, choose and test"),
        ({"name": [], "x": []}, "", "has no rows"),
    ],
)
def test_what_a_table_cannot_mean_is_refused_in_words(
    tmp_path: Path, columns: dict[str, Any], asked: str, words: str
) -> None:
    path = table(tmp_path / "own.csv", columns)
    with pytest.raises(UsageError, match=words):
        find(f"{path}{asked}")


def test_a_table_of_other_recordings_is_refused_by_name(tmp_path: Path, store: Store) -> None:
    task = find(str(table(tmp_path / "own.csv", {"name": ["a", "b"], "x": ["u", "v"]})))
    with pytest.raises(UsageError, match=r"None of the 2 labelled .* such as ward/000"):
        task.target(Facts.of(store))
    with pytest.raises(UsageError, match="There is no file"):
        find(str(tmp_path / "none.csv"))


def test_a_comparison_asks_known_tasks_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"readable without .*speeds\.csv"):
        compare("heart_rate", str(speeds(tmp_path / "speeds.csv")), out=tmp_path / "out")


def test_what_was_taught_is_said_of_new_recordings(
    tmp_path: Path, store: Store, hand_made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = speeds(tmp_path / "speeds.csv")
    kept = tmp_path / "kept"
    (result,) = probe(str(hand_made), str(path), store.path, probes="logistic", save=kept)
    assert result.metrics["auroc"]["value"] > 0.9
    head = kept / "speeds.logistic.safetensors"
    assert f"nerula predict {head} SOURCE" in capsys.readouterr().out
    out = tmp_path / "answers.csv"
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(head), str(store.path), str(out), "--model", str(hand_made)])
    assert ended.value.code == 0
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == COUNT
    right = [
        row["answer"] == ("slow" if number % 3 else "fast") for number, row in enumerate(rows)
    ]
    assert np.mean(right) > 0.8
    z = bundle.load(hand_made).embed(store.read(5)[0], 100, leads=["II"])
    chance = probes.load(head).probabilities(z)
    assert [float(rows[5][f"p_{name}"]) for name in ("fast", "slow")] == pytest.approx(
        chance, abs=1e-5
    )
    said = capsys.readouterr().out
    assert "60 recordings" in said
    assert "(unknown files, 59 recordings): auroc" in said


def test_values_and_a_network_that_was_tuned_are_said_too(
    tmp_path: Path, store: Store, hand_made: Path
) -> None:
    names = store.column("name")
    path = table(tmp_path / "own.csv", {"name": names, "years": [20.5 + row for row in ROWS]})
    asked = f"{path}:years"
    probe(str(hand_made), asked, store.path, probes="finetuned", save=tmp_path / "kept")
    folder = tmp_path / "kept" / "own-years.finetuned"
    assert (folder / HEAD).is_file()
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(folder), str(store.path), str(tmp_path / "said.parquet")])
    assert ended.value.code == 0
    held = parquet.read_table(tmp_path / "said.parquet").to_pydict()
    assert held["name"] == names.tolist()
    assert np.isfinite(held["answer"]).all()
    assert not [column for column in held if column.startswith("p_")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch", "STORE", "a.csv"], "cannot be read as a probe"),
        (["PROBE", "STORE", "a.xlsx"], "could be anything"),
        (["PROBE", "STORE", "a.csv"], "does not come with Nerula"),
        (["PROBE", "STORE", "a.csv", "--model", "nerula-small"], "another model"),
        (["FOLDER", "STORE", "a.csv"], "not a network that was fine-tuned"),
    ],
)
def test_predictions_that_would_mean_nothing_are_refused(
    tmp_path: Path,
    store: Store,
    hand_made: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    probe(str(hand_made), str(speeds(tmp_path / "speeds.csv")), store.path, probes="logistic",
          save=tmp_path / "kept")  # fmt: skip
    known = {"PROBE": tmp_path / "kept" / "speeds.logistic.safetensors", "STORE": store.path}
    known |= {"FOLDER": tmp_path}
    with pytest.raises(SystemExit) as ended:
        main(["predict", *(str(known.get(word, word)) for word in words)])
    assert ended.value.code == 1
    assert said in " ".join(capsys.readouterr().err.split())
