"""Training: what a run writes, how it continues, what it refuses, what it says when it fails."""

import errno
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from nerula import run as runs
from nerula import sample, train
from nerula.batches import Batches, FromStore, OnDevice, chosen_folds, subject_numbers
from nerula.cli import main
from nerula.contract import Contract
from nerula.errors import NerulaError, UsageError
from nerula.method import Needs
from nerula.options import Options, split
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.pretrain import STOPPED, pretrain
from nerula.recording import Recording
from nerula.run import Run, newest, read_tensors, write_tensors
from nerula.store import Store
from nerula.writer import StoreWriter
from tests.tiny import NAME, Tiny

ONE = Needs()
QUICK = {"epochs": 3, "batch": 16, "threads": 1, "precision": "fp32", "checkpoint_steps": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 175 recordings of the sample, of which 119 are in folds 1 to 8."""
    path = tmp_path_factory.mktemp("sample") / "store"
    make_store(sample.load(), path, Preparation(leads=("II",), limit=175))
    return path


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert pretrain(NAME, store, run, **QUICK) == 0
    return run


def rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def state(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())
    return found


def same_end(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same bits: weights, moving averages, optimiser, losses."""
    (step, tensors), (step2, tensors2) = newest(one), newest(other)  # type: ignore[misc]
    assert step == step2
    assert tensors.keys() == tensors2.keys()
    losses = [[row["loss"] for row in rows(run)] for run in (one, other)]
    equal = all(torch.equal(tensors[name], tensors2[name]) for name in tensors)
    models = [(run / "model" / "model.safetensors").read_bytes() for run in (one, other)]
    return equal and losses[0] == losses[1] and models[0] == models[1]


# --- what a run is ---------------------------------------------------------------------------


def test_a_run_holds_config_metrics_checkpoints_and_a_model(whole: Path) -> None:
    config = json.loads((whole / "config.json").read_text())
    assert config["arguments"]["width"] == 8
    assert config["options"]["batch"] == 16
    assert config["store"]["recordings"] == 119
    assert config["machine"] == {"device": "cpu", "precision": "fp32", "threads": 1}
    lines = rows(whole)
    assert [row["step"] for row in lines] == list(range(1, 22))  # 3 epochs of 119 // 16
    assert [row["epoch"] for row in lines] == [0] * 7 + [1] * 7 + [2] * 7
    assert all(row["norm"] > 0 and row["recordings_per_second"] > 0 for row in lines)
    watched = [row["step"] for row in lines if "embedding_rank" in row]
    assert watched == [7, 14, 21]
    assert [path.name for path in runs.checkpoints(whole)] == [
        "step-000000020.safetensors",
        "step-000000021.safetensors",
    ]
    assert {path.name for path in (whole / "model").iterdir()} == {
        "model.safetensors",
        "config.json",
        "README.md",
        "DATA.md",
    }
    done = state(whole)
    assert done["status"] == "finished"
    assert done["step"] == done["steps"] == 21
    assert done["command"].startswith(f"nerula pretrain {NAME}")


def test_training_lowers_the_loss(store: Path, tmp_path: Path) -> None:
    pretrain(NAME, store, tmp_path / "run", **QUICK | {"epochs": 12, "lr": 0.02})
    loss = [row["recon"] for row in rows(tmp_path / "run")]
    assert np.mean(loss[-7:]) < 0.6 * np.mean(loss[:7])


def test_the_same_command_does_nothing_more(
    whole: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert pretrain(NAME, store, whole, **QUICK) == 0
    assert (whole / "model").stat().st_mtime_ns
    after = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    assert {path.name for path in before if before[path] != after.get(path)} <= {".lock"}
    assert "Next: nerula embed" in capsys.readouterr().out


def test_a_seed_decides_everything(whole: Path, store: Path, tmp_path: Path) -> None:
    pretrain(NAME, store, tmp_path / "again", **QUICK)
    assert same_end(whole, tmp_path / "again")
    pretrain(NAME, store, tmp_path / "other", **QUICK, seed=1)
    assert not same_end(whole, tmp_path / "other")


def test_a_run_in_bf16_repeats_itself(store: Path, tmp_path: Path) -> None:
    for name, more in (("one", {}), ("two", {"trouble": "term", "at": 6})):
        while pretrain(NAME, store, tmp_path / name, **QUICK | {"precision": "bf16"} | more):
            pass
    assert same_end(tmp_path / "one", tmp_path / "two")


# --- continuing ------------------------------------------------------------------------------


def test_sigterm_checkpoints_and_the_same_command_continues(
    whole: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, ends = tmp_path / "run", []
    options = QUICK | {"trouble": "term", "at": 5, "checkpoint_steps": 1000}
    while pretrain(NAME, store, run, **options) == STOPPED:
        ends.append(state(run)["step"])
        assert state(run)["status"] == "stopped"
        assert len(rows(run)) == ends[-1]
    assert ends == [5, 10, 15, 20]
    assert "Stopped after step 5 of 21; the same command continues" in capsys.readouterr().out
    assert same_end(whole, run)


def test_metrics_after_the_checkpoint_are_written_again_not_twice(
    whole: Path, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(NerulaError):
        pretrain(NAME, store, run, **QUICK, trouble="memory", at=11)
    assert newest(run)[0] == 8  # type: ignore[index]
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "loss": 0}\n{"step": 10, "lo')  # a line torn by a power cut
    while True:
        try:
            pretrain(NAME, store, run, **QUICK, trouble="memory", at=11)
            break
        except NerulaError:
            pass
    assert same_end(whole, run)
    assert [row["step"] for row in rows(run)] == list(range(1, 22))


@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_checkpoint_is_passed_over(
    damaged: int, whole: Path, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert pretrain(NAME, store, run, **QUICK, trouble="term", at=10) == STOPPED
    older, newer = runs.checkpoints(run)
    for path in (newer, older)[:damaged]:
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content)
    found = newest(run)
    assert found[0] == 8 if damaged == 1 else found is None  # type: ignore[index]
    assert not newer.exists()
    while pretrain(NAME, store, run, **QUICK, trouble="term", at=10) == STOPPED:
        pass
    assert same_end(whole, run)


def test_changed_options_are_refused_by_name(whole: Path, store: Path) -> None:
    with pytest.raises(UsageError, match=r"options\.lr: 0\.001 in the run, 0\.5 now"):
        pretrain(NAME, store, whole, **QUICK, lr=0.5)
    with pytest.raises(UsageError, match=r"arguments\.width: 8 in the run, 9 now"):
        pretrain(NAME, store, whole, **QUICK, width=9)
    assert pretrain(NAME, store, whole, **QUICK | {"checkpoint_steps": 9}) == 0


def test_a_changed_store_is_refused(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "store"
    make_store(sample.load(), other, Preparation(leads=("II",), limit=176))
    with pytest.raises(UsageError, match=r"store\.digest"):
        pretrain(NAME, other, whole, **QUICK)


def test_a_folder_is_trained_in_by_one_process_at_a_time(tmp_path: Path) -> None:
    with Run(tmp_path / "run", {"a": 1}), pytest.raises(UsageError, match="Another process"):
        Run(tmp_path / "run", {"a": 1})
    with Run(tmp_path / "run", {"a": 1}):
        pass


# --- failing ---------------------------------------------------------------------------------


def test_nan_names_the_step_and_keeps_the_last_good_checkpoint(
    store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with pytest.raises(NerulaError, match="not a number at step 7"):
        pretrain(NAME, store, run, **QUICK, trouble="nan", at=7)
    step, tensors = newest(run)  # type: ignore[misc]
    assert step == 4
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    assert state(run)["status"] == "failed"
    assert "step 7" in state(run)["problem"]
    assert [row["step"] for row in rows(run)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("trouble", ["memory", "cuda-memory"])
def test_out_of_memory_says_what_to_change(store: Path, tmp_path: Path, trouble: str) -> None:
    with pytest.raises(NerulaError, match="smaller --batch"):
        pretrain(NAME, store, tmp_path / "run", **QUICK, trouble=trouble)
    assert newest(tmp_path / "run")[0] == 4  # type: ignore[index]


@pytest.mark.parametrize("writes", [0, 3, 4, 13, 15, 16, 17, 18])
def test_a_full_disk_loses_nothing(
    writes: int, whole: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full from the n-th file on, half of which is written."""
    run, left = tmp_path / "run", writes

    @contextmanager
    def replacing(path: Path) -> Iterator[BinaryIO]:
        nonlocal left
        left -= 1
        with original(path) as file:
            yield file
            if left < 0:
                file.truncate(file.tell() // 2)
                raise OSError(errno.ENOSPC, "No space left on device")

    original = runs.replacing
    with monkeypatch.context() as patch:
        patch.setattr("nerula.run.replacing", replacing)
        patch.setattr("nerula.files.replacing", replacing)
        with pytest.raises(NerulaError, match=r"No space left on device.*same command"):
            pretrain(NAME, store, run, **QUICK)
    assert all(read_tensors(path) for path in runs.checkpoints(run))
    assert pretrain(NAME, store, run, **QUICK) == 0
    assert same_end(whole, run)
    assert not list(run.rglob("*.partial"))


def test_a_collapse_is_said_loudly(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain(NAME, store, tmp_path / "run", **QUICK, collapsed=True)
    out = capsys.readouterr().out
    assert out.count("COLLAPSED") == 2  # once while training, once at the end
    assert state(tmp_path / "run")["collapsed"] is True
    assert rows(tmp_path / "run")[-1]["collapsed"] is True
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "**Collapsed**" in card


def test_a_sound_run_is_not_called_collapsed(whole: Path) -> None:
    assert state(whole)["collapsed"] is False


# --- options ---------------------------------------------------------------------------------


def test_an_unknown_option_names_the_nearest(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no option 'widht'\. Did you mean width\?"):
        pretrain(NAME, store, tmp_path, widht=3)


def test_a_preset_stands_in_for_defaults_of_both_and_yields_to_what_is_given() -> None:
    loop, arguments = split(Tiny, "wide", {"epochs": 7})
    assert (loop.lr, loop.epochs, arguments["width"]) == (0.02, 7, 24)
    loop, arguments = split(Tiny, None, {})
    assert (loop.lr, loop.epochs, arguments["width"]) == (1e-3, 30, 8)
    with pytest.raises(UsageError, match=r"no preset 'narrow'.*wide"):
        split(Tiny, "narrow", {})


def test_the_command_line_has_the_options_of_loop_and_method(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", NAME, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "--mask" not in out
    for option in ("--epochs", "--width", "--no-collapsed", "--preset"):
        assert option in out
    words = f"pretrain {NAME} {store} {tmp_path / 'run'} --epochs 1 --batch 32 --threads 1"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--preset", "wide"])
    assert ended.value.code == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["options"]["lr"] == 0.02
    assert config["options"]["epochs"] == 1
    assert config["arguments"]["width"] == 24


@pytest.mark.parametrize(
    ("option", "words", "said"),
    [
        ("--patches", "1;2", "write numbers with commas"),
        ("--patches", "[4,30],[2,3]", "write numbers with commas"),
        ("--stem", "8,4", "write lists of numbers"),
        ("--stem", "", "write lists of numbers"),
        ("--patches", "[4,30]", "nowhere"),  # understood: what fails is the store
        ("--stem", "[8,4],[16,2]", "nowhere"),
        ("--stem", "[[8,4]]", "nowhere"),
    ],
)
def test_lists_are_written_with_commas(
    option: str, words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "nerula", "nowhere", "run", option, words])
    assert said in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_the_machine_is_decided_once_and_kept(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = QUICK | {"precision": "auto", "epochs": 1}
    monkeypatch.setattr("nerula.machine._has_bf16", lambda device: device == "cpu")
    pretrain(NAME, store, tmp_path / "run", **auto, trouble="term")
    monkeypatch.setattr("nerula.machine._has_bf16", lambda device: False)
    assert pretrain(NAME, store, tmp_path / "run", **auto, trouble="term") == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["machine"] == {"device": "cpu", "precision": "bf16", "threads": 1}


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without an accelerator")
def test_what_the_machine_cannot_is_refused(store: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ({"device": "cuda"}, "no cuda here"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"device": "meta"}, "no device 'meta' here"),
        ({"precision": "fp8"}, "--precision fp8 cannot be meant"),
    ):
        with pytest.raises(UsageError, match=message):
            pretrain(NAME, store, tmp_path / "run", **QUICK | wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lr": -1.0}, r"--lr -1 cannot be meant\. It takes more than 0"),
        ({"lr": math.nan}, "--lr nan"),
        ({"window": math.nan}, "--window nan"),
        ({"warmup": 5.0}, r"--warmup 5 cannot be meant\. It takes 0 to 1"),
        ({"seed": -1}, r"--seed -1 cannot be meant\. It takes 0 or more"),
        ({"threads": -1}, "--threads -1"),
        ({"batch": 0}, "--batch 0"),
        ({"epochs": -1}, "--epochs -1"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_by_their_option(
    store: Path, tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        pretrain(NAME, store, tmp_path / "run", **QUICK | wrong)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("epochs", "wrong", "message"),
    [
        (1, {"width": -1}, "cannot be built with these arguments"),
        (1, {"trouble": "shapes"}, r"The first step failed.*--debug"),
        (0, {"trouble": "shapes"}, "cannot embed with these arguments"),
    ],
)
def test_arguments_that_do_not_go_together_are_a_sentence(
    store: Path, tmp_path: Path, epochs: int, wrong: dict[str, Any], message: str
) -> None:
    """Of a method that says nothing of its bounds."""
    with pytest.raises(NerulaError, match=message):
        pretrain(NAME, store, tmp_path / "run", **QUICK | {"epochs": epochs} | wrong)


# --- batches ---------------------------------------------------------------------------------


def batches(store: Store, needs: Needs = ONE, **options: Any) -> Batches:
    return Batches(store, needs, Options(**options), torch.device("cpu"))


def test_an_epoch_takes_each_recording_at_most_once_in_new_order(store: Path) -> None:
    data = Store.open(store)
    made = batches(data, batch=16, seed=3)
    subjects = [
        torch.cat([made.at(step).subject for step in range(start, start + 7)]).tolist()
        for start in (0, 7)
    ]
    fold = data.column("fold")
    assert set(made.index) == {i for i in range(len(data)) if fold[i] not in ("9", "10")}
    numbers = subject_numbers(data.column("subject"))
    allowed = np.bincount(numbers[made.index], minlength=numbers.max() + 1)
    for one in subjects:
        assert len(one) == 112
        assert (np.bincount(one, minlength=len(allowed)) <= allowed).all()
    assert subjects[0] != subjects[1]
    assert torch.equal(made.at(5).x, batches(data, batch=16, seed=3).at(5).x)


def test_a_batch_is_shared_by_the_ranks(store: Path) -> None:
    data, device = Store.open(store), torch.device("cpu")
    whole = batches(data, batch=16).at(9)
    parts = [
        Batches(data, ONE, Options(batch=16), device, share=(rank, 4)).at(9) for rank in range(4)
    ]
    assert torch.equal(torch.cat([part.x for part in parts]), whole.x)
    with pytest.raises(UsageError, match="3 ranks"):
        Batches(data, ONE, Options(batch=16), device, share=(0, 3))


def test_windows_are_crops_and_segments_are_neighbours(store: Path) -> None:
    data = Store.open(store)
    made = batches(data, Needs(segments=2), batch=16, window=5.0)
    one = made.at(0)
    assert one.x.shape == (16, 2, 1, 250)
    recordings = np.concatenate([data.read(int(i))[0] for i in made.index])
    starts = set()
    for row in one.x[:, :, 0].reshape(16, 500).numpy():
        views = np.lib.stride_tricks.sliding_window_view(recordings, 500, axis=1)
        found = np.argwhere((views == row).all(-1))
        assert len(found)
        starts.add(int(found[0, 1]))
    assert len(starts) > 8


def test_short_recordings_are_padded_and_the_padding_is_invalid(store: Path) -> None:
    one = batches(Store.open(store), batch=16).at(0)
    assert one.x.shape == (16, 1, 1, 1024)
    assert one.valid[..., :1000].all()
    assert not one.valid[..., 1000:].any()
    assert (one.x[..., 1000:] == 0).all()


def test_a_store_on_the_device_gives_the_same_bits(store: Path) -> None:
    data, device = Store.open(store), torch.device("cpu")
    index = np.array([0, 174, 7, 7, 3])
    for start, length in ((np.array([0, 5, 13, 700, 999]), 301), (np.zeros(5, np.int64), 1024)):
        here = FromStore(data, device)(index, start, length)
        there = OnDevice(data, device)(index, start, length)
        assert torch.equal(here[0], there[0])
        assert torch.equal(here[1], there[1])


def test_recordings_that_cannot_fill_the_segments_by_half_are_left_out(store: Path) -> None:
    assert batches(Store.open(store), Needs(segments=2), batch=16).window == 512
    with pytest.raises(UsageError, match=r"0 of 175 .*2 windows of 10 s .*shorter --window"):
        batches(Store.open(store), Needs(segments=2), batch=16, window=20.0)
    with pytest.raises(UsageError, match="smaller --batch"):
        batches(Store.open(store), batch=120)


def test_leads_are_checked_against_store_and_method(store: Path) -> None:
    with pytest.raises(UsageError, match="no lead V1"):
        Batches(Store.open(store), ONE, Options(), torch.device("cpu"), leads=("V1",))
    with pytest.raises(UsageError, match="wants 2 leads"):
        batches(Store.open(store), Needs(leads=2))


def test_recordings_without_a_lead_are_left_out(tmp_path: Path) -> None:
    """Of two leads; every third recording lacks V1."""
    x = sample.load().x[:30, 0]
    with StoreWriter(tmp_path / "store", Contract(("II", "V1"), 100.0)) as writer:
        for i in range(30):
            both = np.stack([x[i], x[29 - i]])
            valid = np.ones(both.shape, bool)
            valid[1] = i % 3 > 0
            writer.add(Recording(str(i), both, 100.0, ("II", "V1"), valid))
    data, device = Store.open(tmp_path / "store"), torch.device("cpu")
    options = Options(batch=8)
    both = Batches(data, Needs(leads=2), options, device)
    assert both.index.tolist() == [i for i in range(30) if i % 3]
    alone = Batches(data, ONE, options, device, leads=("II",))
    assert len(alone.index) == 30
    first = alone.at(0)
    assert first.x.shape == (8, 1, 1, 1024)
    second = Batches(data, ONE, options, device, leads=("V1",))
    rows = both.windows(both.index[:3], np.zeros(3, np.int64))
    assert torch.equal(rows.x[:, :, 1:], second.windows(both.index[:3], np.zeros(3, np.int64)).x)


def test_a_foreign_folder_is_no_run(store: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="not the folder of a run"):
        pretrain(NAME, store, tmp_path, **QUICK)


def test_folds() -> None:
    fold = np.array(["1", "8", "9", None, "10"], object)
    assert chosen_folds(fold, "1-8").tolist() == [True, True, False, True, False]
    assert chosen_folds(fold, "9,10").tolist() == [False, False, True, True, True]
    assert chosen_folds(fold, "all").all()
    with pytest.raises(UsageError, match=r"no fold 'one'\. The store has 1, 8, 9, 10"):
        chosen_folds(fold, "one")


def test_folds_may_have_names() -> None:
    fold = np.array(["georgia", "ptb-xl", "cpsc_2018", "ptb"], object)
    assert chosen_folds(fold, "ptb-xl, cpsc_2018").tolist() == [False, True, True, False]
    with pytest.raises(UsageError, match="None of the recordings is in folds 1-8: the store has"):
        chosen_folds(fold, "1-8")
    with pytest.raises(UsageError, match="no fold 'ptb-x'"):
        chosen_folds(fold, "georgia,ptb-x")


# --- parts of the loop -----------------------------------------------------------------------


def test_the_learning_rate_rises_and_falls() -> None:
    options = Options(lr=2.0, warmup=0.1)
    rates = [train._rate(step, 100, options) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[99] < 0.002
    assert all(a >= b for a, b in pairwise(rates[10:]))


def test_step_seeds_differ() -> None:
    seeds = {train._seed(s, t, r) for s in range(4) for t in range(50) for r in range(4)}
    assert len(seeds) == 800


def test_tensors_are_refused_where_a_bit_changed(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.ones(0)}
    write_tensors(path, tensors, {"step": "3"})
    found, facts = read_tensors(path)
    assert facts["step"] == "3"
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    content = path.read_bytes()
    for place in (3, 40, len(content) - 3):
        bad = bytearray(content)
        bad[place] ^= 4
        path.write_bytes(bad)
        with pytest.raises(NerulaError, match=r"t\.safetensors"):
            read_tensors(path)
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(NerulaError, match=r"t\.safetensors"):
            read_tensors(path)


def test_weight_decay_spares_what_is_no_matrix() -> None:
    optimiser = train._optimiser(Tiny(), replace(Options(), weight_decay=0.3))
    decayed, spared = optimiser.param_groups
    assert decayed["weight_decay"] == 0.3
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert spared["weight_decay"] == 0
    assert all(parameter.ndim <= 1 for parameter in spared["params"])


def test_looking_at_the_embeddings_counts_for_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(train.time, "monotonic", lambda: clock)
    shown: list[dict[str, Any]] = []
    batches: Any = SimpleNamespace(batch=64, per_epoch=1, steps=2)
    journal = train.Journal(None, batches, 0, shown.extend)
    clock += 1  # a step
    with journal.paused(torch.ones(())):
        clock += 30
    journal.add(1, 1e-3, torch.ones(()), {"loss": torch.ones(())}, (8.0, 0.3))
    journal.flush()
    assert shown[0]["recordings_per_second"] == 64
