"""Rows made in folders of their own: gathered, they are as if they had been made in one."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from nerula.comparison.plan import FINISHED, Plan
from nerula.errors import UsageError
from nerula.store import Store
from tests.test_compare import cells, run
from tests.test_compare_kept import ASKED, SEX, TRAINING, computed, contents, done, store
from tests.tiny import NAME

__all__ = ["computed", "done", "store"]  # the fixtures

CONTROLS: dict[str, Any] = {"methods": "majority", "tasks": "sex", "probes": "logistic"}


@pytest.fixture(scope="module")
def elsewhere(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another row, from the same store, in a folder of its own."""
    out = tmp_path_factory.mktemp("elsewhere") / "out"
    assert run(out, store, **CONTROLS) == 0
    return out


def gather(out: Path, *others: Path) -> int:
    from nerula.compare import compare

    return compare(gather=others, out=out)


def test_gathered_rows_are_those_of_one_folder(
    store: Store, done: Path, elsewhere: Path, tmp_path: Path, computed: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    assert gather(out, done, elsewhere) == 0
    assert f"gathered   {TRAINING}" in capsys.readouterr().out
    assert {name: cell["status"] for name, cell in cells(out).items()} == dict.fromkeys(
        [*cells(done), *cells(elsewhere)], FINISHED
    )
    one = tmp_path / "one"
    shutil.copytree(done, one)
    assert run(one, store, **CONTROLS) == 0
    assert computed == ["pretrain majority seed 0", "probe majority seed 0: sex logistic"]
    assert set(contents(out)) == set(contents(one))
    for name in ("tables/sex.md", "tables/sex.json"):
        assert contents(out)[name] == contents(one)[name]
    computed.clear()
    assert run(out, store, **ASKED | {"methods": f"{NAME},majority", "probes": "logistic"}) == 0
    assert computed == []
    capsys.readouterr()
    assert gather(out, done) == 0
    assert "Nothing is finished there" in capsys.readouterr().out


def test_answers_that_are_lacking_are_taken_from_the_same_model(
    store: Store, done: Path, tmp_path: Path, computed: list[str]
) -> None:
    """Two machines ask one model different things."""
    more, out = tmp_path / "more", tmp_path / "out"
    shutil.copytree(done, more)
    shutil.copytree(done, out)
    assert run(more, store, **ASKED | {"tasks": "infarction", "probes": "logistic"}) == 0
    computed.clear()
    assert gather(out, more) == 0
    (added,) = set(cells(out)) - set(cells(done))
    assert "infarction logistic" in added
    assert Plan.read(out).there(Plan.read(out).cells[added])
    assert not computed


def test_answers_of_other_weights_are_refused(
    store: Store, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    module = importlib.import_module("nerula.pretrain")
    pretrain = module.pretrain
    monkeypatch.setattr(module, "pretrain", lambda *a, **given: pretrain(*a, **given, lr=0.05))
    other, out = tmp_path / "other", tmp_path / "out"
    asked = ASKED | {"tasks": "infarction", "probes": "logistic"}
    assert run(other, store, **asked) == 0
    shutil.copytree(done, out)
    before = contents(out)
    with pytest.raises(UsageError, match=f"{NAME} seed 0 has other weights"):
        gather(out, other)
    assert contents(out) == before


def test_another_budget_or_another_meaning_of_a_row_is_refused(
    store: Store, done: Path, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    shutil.copytree(done, out)
    before = contents(out)
    assert run(other, store, **CONTROLS, batch=8) == 0
    with pytest.raises(UsageError, match="budget: batch"):
        gather(out, other)
    shutil.rmtree(other)
    assert run(other, store, **ASKED | {"tasks": "infarction"}, settings=[f"{NAME}.width=4"]) == 0
    with pytest.raises(UsageError, match="width: 8 there, 4 now"):
        gather(out, other)
    assert contents(out) == before


def test_what_is_unfinished_here_gives_way_to_what_is_finished_there(
    done: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(done, out)
    plan = Plan.read(out)
    plan.cells[TRAINING].status = plan.cells[SEX].status = "waiting"
    plan.save()
    shutil.rmtree(plan.place(plan.cells[SEX]))
    (plan.run(plan.cells[TRAINING]) / "checkpoints").mkdir(exist_ok=True)
    assert gather(out, done) == 0
    plan = Plan.read(out)
    assert all(plan.there(cell) for cell in plan.cells.values())
    assert not (plan.run(plan.cells[TRAINING]) / "checkpoints").exists()


@pytest.mark.parametrize("kind", ["answer", "training"])
def test_a_strangers_plan_writes_nothing_outside(done: Path, tmp_path: Path, kind: str) -> None:
    stranger, out = tmp_path / "stranger", tmp_path / "inner" / "out"
    shutil.copytree(done, stranger)
    (tmp_path / "inner" / "precious").mkdir(parents=True)
    plan = Plan.read(stranger)
    if kind == "answer":
        (tmp_path / "loot").write_text("theirs")
        plan.cells[SEX].made = ["../loot"]
    else:
        plan.cells[TRAINING].seed = "0/../../../../precious"  # type: ignore[assignment]
    plan.save()
    with pytest.raises(UsageError, match="is not inside"):
        gather(out, stranger)
    assert (tmp_path / "inner" / "precious").is_dir()
    assert not (tmp_path / "inner" / "loot").exists()


def test_gathering_computes_nothing_and_not_from_itself(done: Path, tmp_path: Path) -> None:
    from nerula.compare import compare

    with pytest.raises(UsageError, match="computes nothing"):
        compare("nerula", "sex", gather=[done], out=tmp_path / "out")
    with pytest.raises(UsageError, match="is the folder to gather in"):
        gather(done, done)
    with pytest.raises(UsageError, match="holds no comparison"):
        gather(tmp_path / "out", tmp_path)
