"""A comparison without its models: what is finished stays, and a row is always one model."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nerula import sample
from nerula.comparison import checks, document
from nerula.comparison import work as working
from nerula.comparison.places import without_places
from nerula.comparison.plan import FINISHED, WAITING, Plan
from nerula.errors import NerulaError, UsageError
from nerula.prepare import Options, make_store
from nerula.results import Result
from nerula.store import Store
from tests.test_compare import cells, run
from tests.test_compare_tables import TRUTH, answered, planned
from tests.tiny import NAME

TRAINING = f"pretrain {NAME} seed 0"
SEX, INFARCTION = (f"probe {NAME} seed 0: {task} logistic" for task in ("sex", "infarction"))
ASKED: dict[str, Any] = {"methods": NAME, "tasks": "sex", "seeds": "0"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A part of the sample."""
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",), limit=300))
    return Store.open(place)


@pytest.fixture(scope="module")
def done(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One row, asked one thing, by a command with places of this machine."""
    out = tmp_path_factory.mktemp("done") / "out"
    words = ["nerula", "compare", NAME, "sex", "--data", f"ptbxl={store.path}", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        assert run(out, store, **ASKED) == 0
    return out


@pytest.fixture
def cloned(done: Path, tmp_path: Path) -> Path:
    """The same as it comes out of git."""
    away = shutil.ignore_patterns("models", "cache", "stores", ".lock")
    return Path(shutil.copytree(done, tmp_path / "cloned", ignore=away))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cells that are computed, in order."""
    names: list[str] = []

    def noted(compute: Callable[..., None]) -> Callable[..., None]:
        def noting(plan: Plan, cell: Any, hands: Any) -> None:
            names.append(cell.name)
            compute(plan, cell, hands)

        return noting

    for name in ("_train", "_probe"):
        monkeypatch.setattr(working, name, noted(getattr(working, name)))
    return names


@pytest.fixture
def otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings come out otherwise, as they do on another machine."""
    module = importlib.import_module("nerula.pretrain")
    pretrain = module.pretrain
    monkeypatch.setattr(module, "pretrain", lambda *a, **given: pretrain(*a, **given, lr=0.05))


def contents(out: Path) -> dict[str, bytes]:
    """Every file that is committed."""
    paths = [out / "comparison.json", *(out / "tables").iterdir(), *(out / "results").rglob("*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in paths if path.is_file()}


def documents(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((out / "results").rglob("*.json"))]


# --- without models ----------------------------------------------------------------------------


def test_nothing_is_computed_again_without_models(
    cloned: Path, store: Store, computed: list[str]
) -> None:
    before = contents(cloned)
    assert run(cloned, store, **ASKED) == 0
    assert computed == []
    assert contents(cloned) == before
    training = cells(cloned)[TRAINING]
    assert training["status"] == FINISHED
    assert training["facts"]["recordings_seen"] > 0
    assert not (cloned / "models").exists()


def test_a_row_that_is_added_is_paired_with_the_old_one(
    cloned: Path, store: Store, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "REFERENCE", NAME)
    before = json.loads((cloned / "tables" / "sex.json").read_text())["rows"]
    assert run(cloned, store, **(ASKED | {"methods": "majority"})) == 0
    assert computed == ["pretrain majority seed 0", "probe majority seed 0: sex logistic"]
    rows = {
        row["name"]: row
        for row in json.loads((cloned / "tables" / "sex.json").read_text())["rows"]
    }
    assert [rows[NAME]] == before
    assert rows["majority"]["cells"][0]["nerula_ahead"]["low"] is not None


def test_another_question_needs_the_model_again_and_keeps_the_answers_of_equal_weights(
    cloned: Path, store: Store, computed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(cloned)
    assert (
        run(
            cloned,
            store,
            **(ASKED | {"tasks": "infarction"}),
        )
        == 0
    )
    assert computed == [TRAINING, INFARCTION]
    assert (
        "Its model is not in this folder any more, so it is made again." in capsys.readouterr().out
    )
    after = contents(cloned)
    assert {name for name in before if after[name] != before[name]} <= {
        "comparison.json", "tables/checks.json",
    }  # fmt: skip
    assert len({one["model"]["fingerprint"] for one in documents(cloned)}) == 1
    counted = {one["check"]: one for one in json.loads(after["tables/checks.json"])["checks"]}
    assert counted["subjects on two sides of a split"]["looked_at"] == 2  # of both calls
    assert any(name.startswith("sex:") for name in counted)


@pytest.mark.usefixtures("otherwise")
def test_a_model_that_comes_out_otherwise_is_asked_everything_again(
    cloned: Path, store: Store, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (old,) = documents(cloned)
    asked = ASKED | {"tasks": "infarction"}

    def stopped(*_: Any) -> None:
        raise working.StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(working, "_probe", stopped)
        assert run(cloned, store, **asked) == 143
    assert computed == [TRAINING]
    assert cells(cloned)[SEX]["status"] == WAITING
    assert "another model" in cells(cloned)[SEX]["problem"]
    assert run(cloned, store, **asked) == 0  # the answer that was taken back is not forgotten
    assert computed == [TRAINING, INFARCTION, SEX]
    assert {cell["status"] for cell in cells(cloned).values()} == {FINISHED}
    new = documents(cloned)
    assert len(new) == 2
    assert {one["model"]["fingerprint"] for one in new}.isdisjoint({old["model"]["fingerprint"]})
    assert len({one["model"]["fingerprint"] for one in new}) == 1


def test_the_plan_says_what_may_be_asked_again(
    cloned: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(cloned)
    assert run(cloned, store, **(ASKED | {"tasks": "infarction", "dry_run": True})) == 0
    said = capsys.readouterr().out
    assert f"to do      {TRAINING}  Its model is not in this folder any more" in said
    assert f"to do      {INFARCTION}" in said
    assert f"perhaps    {SEX}" in said
    assert "1 trainings and 1 probes are to do." in said
    assert "1 more probes where their model comes out otherwise." in said
    assert contents(cloned) == before


def test_what_may_be_asked_again_needs_its_data(
    cloned: Path, store: Store, computed: list[str]
) -> None:
    held = json.loads((cloned / "comparison.json").read_text())
    sex = next(cell for cell in held["cells"] if cell["name"] == SEX)
    other = sex | {"name": "activity", "inputs": sex["inputs"] | {"task": "activity"}}
    (cloned / "comparison.json").write_text(json.dumps(held | {"cells": [*held["cells"], other]}))
    with pytest.raises(UsageError, match=r"has answered activity too.*--data ucihar=FOLDER"):
        run(cloned, store, **(ASKED | {"tasks": "infarction"}))
    other["inputs"] = sex["inputs"] | {"task": "infarction", "store": "another"}
    (cloned / "comparison.json").write_text(json.dumps(held | {"cells": [*held["cells"], other]}))
    with pytest.raises(UsageError, match="is not the store that it was asked on"):
        run(cloned, store, **(ASKED | {"probes": "svc"}))
    assert computed == []


# --- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_predictions_are_made_again(
    damage: str,
    done: Path,
    store: Store,
    tmp_path: Path,
    computed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Path(shutil.copytree(done, tmp_path / "out"))
    (path,) = (out / "results").rglob("*.npz")
    whole = path.read_bytes()
    path.unlink() if damage == "missing" else path.write_bytes(whole[: len(whole) // 2])
    assert run(out, store, **ASKED) == 0
    assert computed == [SEX]
    said = f"{SEX} does not count any more: its results are missing or damaged."
    assert said in capsys.readouterr().out
    assert path.read_bytes() == whole


def test_no_damage_is_anything_but_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = answered(TRUTH, TRUTH).write(tmp_path)
    packed = path.with_suffix(".npz")
    whole, refused = packed.read_bytes(), 0
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        packed.write_bytes(changed)
        try:
            Result.read(path)
        except NerulaError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused > 20
    packed.write_bytes(b"")
    with pytest.raises(NerulaError):
        Result.read(path)


def test_results_of_several_models_are_counted(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, {"nerula": [answered(TRUTH, TRUTH)], "byol": [answered(TRUTH, TRUTH)]}
    )
    name = "trainings whose results are of several models"
    (one,) = [
        check for check in checks.after(plan, checks.answered(plan)) if check["check"] == name
    ]
    assert (one["looked_at"], one["broken"]) == (2, 0)
    other = answered(TRUTH, TRUTH)
    other.document["model"]["fingerprint"] = "1"
    path = other.write(tmp_path / "results" / "nerula" / "seed-0")
    plan.cells["nerula 0"].made.append(str(path.relative_to(tmp_path)))
    (one,) = [
        check for check in checks.after(plan, checks.answered(plan)) if check["check"] == name
    ]
    assert (one["looked_at"], one["broken"]) == (2, 1)


# --- places ------------------------------------------------------------------------------------


def test_nothing_that_is_committed_names_a_folder_of_the_machine(done: Path, store: Store) -> None:
    (result,) = documents(done)
    assert result["command"] == f"nerula compare {NAME} sex --data ptbxl=sample --out out"
    for name, content in contents(done).items():
        for place in (store.path, done):
            assert str(place.parent).encode() not in content, name


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("--data ptbxl=/home/me/stores/ptbxl/ --out=/tmp/x", "--data ptbxl=ptbxl --out=x"),
        ("/a/b/model/config.json cannot be read: no.", "config.json cannot be read: no."),
        ("'/a/b' is no https://host/a", "'b' is no https://host/a"),
        ("5 mV/s, stores/a", "5 mV/s, stores/a"),
    ],
)  # fmt: skip
def test_places_are_named_by_their_last_part(said: str, kept: str) -> None:
    assert without_places(said) == kept
