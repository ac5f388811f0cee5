"""A comparison: computed once, whatever happens to it; fair, or refused; and honest in words."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nerula import compare as verb
from nerula import guards, sample
from nerula.cli import main
from nerula.compare import compare
from nerula.comparison import checks, joined, rows
from nerula.comparison import work as working
from nerula.comparison.plan import FAILED, FINISHED, WAITING, Plan
from nerula.errors import UsageError
from nerula.prepare import Options, make_store
from nerula.readers.names import STANDARD
from nerula.store import Store
from nerula.tasks import TASKS, Facts, find
from nerula.tasks.person import TRAIN
from nerula.writer import StoreWriter
from tests import layouts
from tests.known_leads import THREE, three_leads
from tests.tiny import NAME

PAPER = Path(__file__).parents[2] / "shared" / "papers" / "nerula.md"
ROOT = Path(__file__).parents[1]
MACHINE: dict[str, Any] = {"device": "cpu", "precision": "fp32", "threads": 1}
TINY = {"methods": f"{NAME},majority", "tasks": "sex,infarction", "probes": "logistic"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A part of the sample."""
    place = tmp_path_factory.mktemp("store") / "sample"
    make_store(sample.load(), place, Options(leads=("II",), limit=300))
    return Store.open(place)


def run(out: Path, store: Store, **options: Any) -> int:
    """A small comparison of a tiny method and the majority."""
    given = TINY | {"data": [f"ptbxl={store.path}"], "epochs": 1, "batch": 32, "seeds": "0,1"}
    return compare(out=out, **MACHINE, **(given | options))


@pytest.fixture(scope="module")
def done(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison."""
    out = tmp_path_factory.mktemp("done") / "out"
    assert run(out, store) == 0
    return out


def cells(out: Path) -> dict[str, dict[str, Any]]:
    held = json.loads((out / "comparison.json").read_text())
    return {cell["name"]: cell for cell in held["cells"]}


def figures(out: Path) -> dict[str, Any]:
    """Every figure of every result, without times and paths."""
    return {
        str(path.relative_to(out)): json.loads(path.read_text())["metrics"]
        for path in sorted((out / "results").rglob("*.json"))
    }


# --- once --------------------------------------------------------------------------------------


def test_what_is_finished_is_there(done: Path) -> None:
    made = cells(done)
    assert {cell["status"] for cell in made.values()} == {FINISHED}
    assert sorted(made) == sorted(
        [f"pretrain {NAME} seed {s}" for s in (0, 1)]
        + [f"probe {NAME} seed {s}: {t} logistic" for s in (0, 1) for t in ("sex", "infarction")]
        + ["pretrain majority seed 0"]
        + [f"probe majority seed 0: {t} logistic" for t in ("sex", "infarction")]
    )
    for cell in made.values():
        assert all((done / path).is_file() for path in cell["made"])
    training = made[f"pretrain {NAME} seed 0"]
    assert training["facts"]["recordings_seen"] == training["facts"]["steps"] * 32 > 0
    assert (done / "models" / "tests.tiny-Tiny" / "seed-1" / "model" / "config.json").is_file()
    for name in ("sex", "infarction"):
        for ending in ("json", "md", "tex"):
            assert (done / "tables" / f"{name}.{ending}").stat().st_size > 200
    for check in json.loads((done / "tables" / "checks.json").read_text())["checks"]:
        assert check["broken"] == 0, check
        assert check["looked_at"] > 0, check


def test_what_is_finished_is_never_computed_again(
    done: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "results").rglob("*.*")}
    monkeypatch.setattr(working, "_train", None)
    monkeypatch.setattr(working, "_probe", None)
    assert run(done, store) == 0
    assert compare(out=done, show=True) == 0
    assert before == {path: path.stat().st_mtime_ns for path in (done / "results").rglob("*.*")}


def test_more_is_added_to_a_folder(done: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "more"
    shutil.copytree(done, out)
    before = figures(out)
    assert run(out, store, methods="heart_rate", tasks="sex") == 0
    after = figures(out)
    assert before.items() < after.items()
    table = json.loads((out / "tables" / "sex.json").read_text())
    assert {row["name"] for row in table["rows"]} == {NAME, "majority", "heart_rate"}


def test_a_result_that_is_gone_is_computed_again(done: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "gone"
    shutil.copytree(done, out)
    before = figures(out)
    cell = cells(out)["probe majority seed 0: sex logistic"]
    for name in cell["made"]:
        (out / name).unlink()
    assert run(out, store) == 0
    assert figures(out) == before


def test_another_budget_or_meaning_in_one_folder_is_refused(done: Path, store: Store) -> None:
    with pytest.raises(UsageError, match="budget: epochs: 1 there, 2 now"):
        run(done, store, epochs=2)
    with pytest.raises(UsageError, match="width: 8 there, 16 now"):
        run(done, store, settings=[f"{NAME}.width=16"])


def test_a_row_whose_folders_are_deleted_begins_anew(
    done: Path, store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "anew"
    shutil.copytree(done, out)
    for folder in ("models", "results"):  # both have to go
        with pytest.raises(UsageError, match="to begin a row anew, delete its folders"):
            run(out, store, settings=[f"{NAME}.width=16"])
        shutil.rmtree(out / folder / "tests.tiny-Tiny")
    assert run(out, store, settings=[f"{NAME}.width=16"]) == 0
    config = json.loads((out / "models/tests.tiny-Tiny/seed-0/config.json").read_text())
    assert config["arguments"]["width"] == 16
    assert {cell["status"] for cell in cells(out).values()} == {FINISHED}


def test_only_what_is_asked_now_is_computed(done: Path, store: Store, tmp_path: Path) -> None:
    out = tmp_path / "asked"
    shutil.copytree(done, out)
    held = json.loads((out / "comparison.json").read_text())
    for cell in held["cells"]:
        if "infarction" in cell["name"]:
            cell |= {"status": WAITING, "made": []}
    (out / "comparison.json").write_text(json.dumps(held))
    assert run(out, store, tasks="sex") == 0
    now = cells(out)
    assert now["probe majority seed 0: infarction logistic"]["status"] == WAITING
    assert now["probe majority seed 0: sex logistic"]["status"] == FINISHED


def in_a_child(out: Path, store: Store, **options: Any) -> int:
    """Start a comparison in a forked process; return its id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = run(out, store, **options)
    finally:
        os._exit(code)


def test_killed_in_the_middle_it_continues(done: Path, store: Store, tmp_path: Path) -> None:
    out, rng = tmp_path / "killed", random.Random(7)
    stamps: dict[Path, int] = {}
    for wanted in (0, 1, 2, 4, 6):
        child = in_a_child(out, store)
        while finished(out) < wanted or not (out / "models").exists():
            assert not os.waitpid(child, os.WNOHANG)[0], "it ended before it could be killed"
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path, stamp in stamps.items():
            assert path.stat().st_mtime_ns == stamp, f"{path} was computed twice"
        held = [cell for cell in cells(out).values() if cell["status"] == FINISHED]
        stamps = {p: p.stat().st_mtime_ns for one in held for p in map(out.joinpath, one["made"])}
    assert run(out, store) == 0
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert figures(out) == figures(done)


def finished(out: Path) -> int:
    """How many cells are finished; the file is whole at any moment."""
    if not (out / "comparison.json").exists():
        return 0
    return sum(cell["status"] == FINISHED for cell in cells(out).values())


def test_a_failure_is_written_down_and_the_rest_goes_on(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble = [f"{NAME}.trouble=memory", f"{NAME}.at=2"]
    assert run(tmp_path, store, settings=trouble, seeds="0") == 1
    made = cells(tmp_path)
    assert made[f"pretrain {NAME} seed 0"]["status"] == FAILED
    assert "Out of memory" in made[f"pretrain {NAME} seed 0"]["problem"]
    assert made[f"probe {NAME} seed 0: sex logistic"]["status"] == WAITING
    assert made["probe majority seed 0: sex logistic"]["status"] == FINISHED
    table = json.loads((tmp_path / "tables" / "sex.json").read_text())
    assert table["rows"][-1]["cells"] == [None]
    assert any("Out of memory" in said for said in table["sentences"])
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert "Next: nerula embed" not in shown  # of one training among many
    assert compare(out=tmp_path, show=True) == 1


# --- fair --------------------------------------------------------------------------------------


@pytest.fixture
def nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise AssertionError("the protocol is checked before anything is computed")

    monkeypatch.setattr(working, "compute", refuse)
    yield


@pytest.mark.usefixtures("nothing_is_computed")
def test_a_test_recording_in_the_training_side_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = find("sex")

    def leaky(facts: Facts, counts: Any) -> Any:
        (split,) = task.splits(facts, counts)
        return [replace(split, train=np.append(split.train, split.test[:1]))]

    monkeypatch.setitem(TASKS, "sex", replace(task, splits=leaky))
    with pytest.raises(guards.LeakError, match="two sides"):
        run(tmp_path, store)


def copied(store: Store, place: Path, change: Callable[[dict[str, Any]], None]) -> Store:
    """The same signals with other facts."""
    import pyarrow as pa

    from nerula.writer import PART_SCHEMA, stored_batch

    whole = stored_batch(store, 0, len(store)).to_pylist()
    for row in whole:
        change(row)
    with StoreWriter(place, store.contract, {"source": store.facts["source"]}) as writer:
        writer.append(pa.RecordBatch.from_pylist(whole, schema=PART_SCHEMA))
    return Store.open(place)


@pytest.mark.usefixtures("nothing_is_computed")
@pytest.mark.parametrize("seen_as", ["recordings", "subjects", "signals"])
def test_pretraining_on_what_judges_is_refused(seen_as: str, store: Store, tmp_path: Path) -> None:
    """One recording of fold 10 slips into fold 1, by its name, its subject or its signal."""
    slipped = int(np.flatnonzero(store.column("fold") == "10")[0])
    own = {"name": store.column("name")[slipped], "subject": store.column("subject")[slipped]}

    def change(row: dict[str, Any]) -> None:
        if row["name"] != own["name"]:
            row["fold"] = None if row["fold"] in ("9", "10") else row["fold"]
            row["fold"] = row["fold"] or "99"
            return
        row["fold"] = "1"
        if seen_as != "recordings":
            row["name"] = "another"
        if seen_as != "subjects":
            row["subject"] = "somebody"
        if seen_as != "signals":
            row["digest"] = "0" * 32

    leaky = copied(store, tmp_path / "leaky", change)
    data = [f"ptbxl={store.path}", f"mine={leaky.path}"]
    with pytest.raises(guards.LeakError, match=f"would see 1 {seen_as} by which sex is judged"):
        run(tmp_path / "out", store, data=data, on="mine")


@pytest.mark.usefixtures("nothing_is_computed")
def test_seeds_are_those_of_all_rows(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="once for each of --seeds"):
        run(tmp_path, store, settings=[f"{NAME}.seed=3"])


@pytest.mark.usefixtures("nothing_is_computed")
@pytest.mark.parametrize("whose", ["*", NAME])
def test_folds_that_judge_cannot_be_set_for_a_row(
    whose: str, store: Store, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="all rows are trained on the same folds"):
        run(tmp_path, store, settings=[f"{whose}.folds=all"])


def test_every_row_gets_the_same_budget(done: Path, store: Store) -> None:
    plan = Plan.read(done)
    count = len(checks.chosen(store, "1-8"))
    seen = count - count % 32
    assert checks.recordings_seen(plan) == {NAME: seen}
    plan.cells["pretrain majority seed 0"].facts |= {"steps": 1, "recordings_seen": seen + 32}
    (uneven,) = [
        one for one in checks.after(plan, checks.answered(plan)) if "more or fewer" in one["check"]
    ]
    assert (uneven["looked_at"], uneven["broken"]) == (2, 1)


def test_a_joined_store_holds_nothing_that_judges(store: Store, tmp_path: Path) -> None:
    task = find("sex")
    first = np.flatnonzero(np.isin(store.column("fold"), ["1", "2"]))
    made = joined.join(store, first, store, task, tmp_path / "joined")
    facts = Facts.of(store)
    (split,) = task.splits(facts, task.counts(facts, task.target(facts)))
    judged = np.concatenate((split.choose, split.test))
    names = made.column("name").tolist()
    assert len(names) == len(first) + len(store) - len(judged)
    assert not set(names) & set(facts.name[judged])
    made.check()
    row = facts.name.tolist().index(names[len(first)])
    np.testing.assert_array_equal(made.read(len(first))[0], store.read(row)[0])
    assert joined.join(store, first, store, task, tmp_path / "joined").digest == made.digest
    part = made.facts["source"]["parts"][1]
    assert part["without"] == guards.named(facts, np.unique(judged))


def test_the_guard_knows_what_a_joined_store_left_out(store: Store) -> None:
    facts = replace(Facts.of(store), fold=np.full(len(store), None, object))
    judged, others = np.arange(20), np.arange(30)
    parts = [
        {"kind": "ptbxl100", "folds": {"1": 10}},
        {"kind": "challenge2017", "folds": {"none": 8}, "without": guards.named(facts, judged)},
    ]
    training = {"steps": 5, "data": {"kind": "joined", "folds": {}, "parts": parts}}
    seen = guards.unseen(training, facts, "challenge2017", "", judged)
    assert "without the recordings" in seen.detail
    with pytest.raises(guards.LeakError):
        guards.unseen(training, facts, "challenge2017", "", others)
    known = replace(facts, fold=np.array(["1"] * len(store), object))
    with pytest.raises(guards.LeakError, match="folds 1"):
        guards.unseen(training, known, "ptbxl100", "", judged)


# --- asked ---------------------------------------------------------------------------------------


def test_settings_are_read_as_they_are_meant() -> None:
    read = rows.read_settings(["nerula.ema=0", "byol.widths=8,8,8,8", "*.lr=0.001",
                               "nerula.reconstruction=False", "timae.pooling=stats"])  # fmt: skip
    assert [value for *_, value in read] == [0, (8, 8, 8, 8), 0.001, False, "stats"]
    byol = rows.configured(rows.ROWS["byol-masks"], read, large=True)
    assert byol.arguments == {
        "pooling": rows.READ_OUT, "views": "masks", "widths": (8, 8, 8, 8), "lr": 0.001,
    }  # fmt: skip
    large = rows.configured(rows.ROWS["simclr"], [], large=True)
    assert large.arguments == {"pooling": rows.READ_OUT, "widths": rows.RESNET_50}
    assert not rows.configured(rows.ROWS["random_convolutions"], [], large=True).arguments
    own = rows.configured(
        rows.ROWS["nerula"], rows.read_settings(["nerula.blocks=9,1", "*.widths=8"]), large=False
    )
    assert own.arguments == {"pooling": rows.READ_OUT, "blocks": ((9, 1),)}
    for wrong in ("nerula.reconstruction=0", "nerula.width=wide", "nerula.pooling=3"):
        with pytest.raises(UsageError, match="not like its default"):
            rows.configured(rows.ROWS["nerula"], rows.read_settings([wrong]), large=False)
    for wrong in ("nerula", "ema=0", "nerula.=3"):
        with pytest.raises(UsageError, match="not understood"):
            rows.read_settings([wrong])
    with pytest.raises(UsageError, match="bylo is not compared"):
        rows.check_settings(rows.read_settings(["bylo.ema=0"]), [rows.ROWS["byol"]])


def test_what_cannot_be_meant_is_refused(store: Store, tmp_path: Path) -> None:
    given = {"out": tmp_path, "data": [f"ptbxl={store.path}"]}
    for options, said in (
        ({}, "METHODS and TASKS"),
        ({"methods": "byol", "tasks": "sex", "quick": True}, "METHODS and TASKS"),
        ({"methods": "bylo", "tasks": "sex"}, "no row 'bylo'"),
        ({"methods": "byol", "tasks": "sxe"}, "no task 'sxe'"),
        ({"methods": "byol", "tasks": "sex", "probes": "tree"}, "no probe 'tree'"),
        ({"methods": "byol", "tasks": "sex", "seeds": "one"}, "no seeds"),
        ({"methods": "byol", "tasks": "sex", "epochs": -3}, "--epochs -3"),
        ({"methods": "byol", "tasks": "sex", "batch": 0}, "--batch 0"),
        ({"methods": "byol", "tasks": "sex", "settings": ["byol.ema=2"]}, "--ema 2 .* 0 to 1"),
        ({"quick": True, "probes": "forest"}, "--quick has its own probes"),
        ({"paper": True, "gaps": "0.1"}, "--paper has its own probes"),
        ({"methods": "byol", "tasks": "activity"}, "nerula fetch ucihar"),
        ({"show": True, "out": tmp_path / "nothing"}, "no comparison"),
        ({"methods": "byol", "tasks": "sex", "data": ["ptbxl"]}, "--data ptbxl is not"),
        ({"methods": "byol", "tasks": "sex", "data": ["ptbxl=nowhere"]}, "no folder nowhere"),
    ):
        with pytest.raises(UsageError, match=said):
            compare(**{**given, **options})


def test_from_the_command_line(
    done: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [NAME + ",majority", "sex", "--probes", "logistic", "--epochs", "1", "--batch", "32"]
    words += ["--data", f"ptbxl={store.path}", "--out", str(done), "--seeds", "0,1", "--dry-run"]
    words += ["--precision", "fp32"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", *words])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "The protocol, counted" in said
    assert "0 trainings and 0 probes are to do" in said


def test_fewer_labels_missing_signal_and_the_whole_network(store: Store, tmp_path: Path) -> None:
    asked = {"methods": NAME, "tasks": "sex", "seeds": "0"}
    assert run(tmp_path, store, **asked, labels="0.5,1", gaps="0.3") == 0
    assert run(tmp_path, store, **asked, finetune=True, label_epochs=1) == 0
    table = json.loads((tmp_path / "tables" / "sex.json").read_text())
    assert [column["heading"] for column in table["columns"]] == [
        "Logistic AUROC, 50 % of labels", "Logistic AUROC",
        *[f"Logistic AUROC, 30 % missing, {how}" for how in ("masked", "zeros", "lines")],
        "Fine-tuned AUROC",
    ]  # fmt: skip
    values = [cell["value"] for cell in table["rows"][0]["cells"]]
    assert len(set(values)) >= len(values) - 1  # Tiny takes a zero for what it is told is missing
    made = cells(tmp_path)
    assert made[f"probe {NAME} seed 0: sex finetuned"]["inputs"]["tuning"] == {"epochs": 1}
    assert len(made[f"probe {NAME} seed 0: sex logistic gaps 0.3"]["made"]) == 2 * 4


@pytest.mark.slow
def test_everything_in_miniature(tmp_path: Path) -> None:
    """What CI runs: every row, on a part of the bundled sample."""
    began = time.process_time()
    assert compare(quick=True, out=tmp_path, device="cpu", threads=1) == 0
    assert time.process_time() - began < 240  # two cores for two minutes
    made = cells(tmp_path)
    assert {cell["status"] for cell in made.values()} == {FINISHED}
    assert {cell["row"] for cell in made.values()} == {
        name for name, row in rows.ROWS.items() if not (row.without or row.many)
    }
    seen = checks.recordings_seen(Plan.read(tmp_path))
    assert len(seen) == 9
    assert len(set(seen.values())) == 1
    assert verb.compare(out=tmp_path, show=True) == 0


SMALL_MODAL = (
    "modal.width=16", "modal.depth=1", "modal.heads=2", "modal.decoder_width=16",
    "modal.decoder_heads=2",
)  # fmt: skip


def test_a_publishers_folder_is_prepared_with_all_leads_for_rows_of_several(
    tmp_path: Path,
) -> None:
    """Recordings of lead II alone stay in the store, and the method of several skips them."""
    folder, out = layouts.ptbxl(tmp_path / "ptbxl", count=120), tmp_path / "out"
    known = list(zip(sample.load().names, sample.load().facts, strict=True))[:120:4]
    alone = {name for name, facts in known if facts.fold in TRAIN}
    for header in folder.rglob("*.hea"):
        if header.stem.partition("_")[0] not in alone:
            signal = np.fromfile(header.with_suffix(".dat"), "<i2")
            layouts.write_record(header.with_suffix(""), [signal] * 12, STANDARD, 100)
    given: dict[str, Any] = {"out": out, "data": (f"ptbxl={folder}",), "probes": "logistic"}
    given |= {"epochs": 1, "batch": 16} | MACHINE
    assert compare("majority,modal", "sex", **given, settings=SMALL_MODAL) == 0
    (prepared,) = (Store.open(path) for path in (out / "stores").iterdir() if path.is_dir())
    assert prepared.contract.leads == STANDARD
    assert len(prepared) == 120
    made = [json.loads(path.read_text()) for path in (out / "results").rglob("*.json")]
    found = {len(one["windows"]["leads"]): one["data"]["lacking"] for one in made}
    assert found == {1: 0, 12: len(alone)}
    again = {"methods": "heart_rate", "tasks": "sex", "dry_run": True}
    assert compare(**given, **again) == 0  # on the same store, though it takes one lead


@pytest.mark.usefixtures("nothing_is_computed")
def test_rows_of_several_leads_are_refused_on_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"modal takes several leads, .* has II alone"):
        run(tmp_path / "out", store, methods=f"{NAME},modal", tasks="sex")


def test_rows_of_one_lead_and_of_several_stand_in_one_table(tmp_path: Path) -> None:
    """On twelve leads: each row gets what it is for, and is asked what it can answer."""
    out = tmp_path / "compared"
    three_leads(tmp_path / "store", 120)
    small = (
        *SMALL_MODAL, "nerula.width=32", "nerula.heads=2", "nerula.decoder_width=32",
    )  # fmt: skip
    compare(
        "nerula,modal", "sex,lead-alignment", out=out, data=(f"ptbxl={tmp_path / 'store'}",),
        epochs=1, batch=16, threads=1, probes="logistic", settings=small,
        leads=("all", "I,II", "v2", "all:I"),
    )  # fmt: skip
    plan = Plan.read(out)
    options = {
        cell.row: cell.inputs["options"] for cell in plan.cells.values() if cell.kind == "pretrain"
    }
    assert (options["nerula"]["leads"], options["modal"]["leads"]) == ("II", "")
    asked = {
        (cell.row, cell.inputs["task"], *cell.given): cell.status
        for cell in plan.cells.values()
        if cell.kind == "probe"
    }
    assert set(asked.values()) == {"finished"}
    assert set(asked) == {
        ("nerula", "sex", (), ()), ("nerula", "sex", ("V2",), ()), ("nerula", "sex", (), ("I",)),
        ("modal", "lead-alignment", (), ()), ("modal", "sex", (), ()),
        ("modal", "sex", ("I", "II"), ()), ("modal", "sex", ("V2",), ()),
        ("modal", "sex", (), ("I",)),
    }  # fmt: skip
    table = json.loads((out / "tables" / "sex.json").read_text())
    headings = [column["heading"] for column in table["columns"]]
    assert headings == [
        "Logistic AUROC", "Logistic AUROC, leads I II", "Logistic AUROC, lead V2",
        "Logistic AUROC, tested with lead I alone",
    ]  # fmt: skip
    (nerula,) = (row["cells"] for row in table["rows"] if row["name"] == "nerula")
    there = [bool(cell) and cell["value"] is not None for cell in nerula]
    assert there == [True, False, True, True]
    for cell in plan.cells.values():
        own = ["II"] if cell.row == "nerula" else list(THREE)
        wanted = list(cell.given.tested or cell.given.fitted) or own
        for path in cell.made if cell.inputs.get("task") == "sex" else ():
            if path.endswith(".json"):
                assert json.loads((out / path).read_text())["windows"]["leads"] == wanted
