"""Training, killed at random moments, told to stop, on a disk with limits: it always continues."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerula import sample
from nerula.errors import NerulaError
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.pretrain import pretrain
from nerula.run import checkpoints, newest, read_tensors
from tests.test_train import rows, same_end, state
from tests.tiny import NAME

ROOT = Path(__file__).parents[1]

OPTIONS = {"epochs": 2, "batch": 16, "threads": 1, "precision": "fp32", "checkpoint_steps": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "store"
    make_store(sample.load(), path, Preparation(leads=("II",), limit=175))
    return path


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert pretrain(NAME, store, run, **OPTIONS) == 0
    return run


def in_a_child(store: Path, run: Path, limit: int | None = None, **more: object) -> int:
    """Start a training in a forked process, which has torch in memory already; return its id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        code = pretrain(NAME, store, run, **OPTIONS | more)
    except NerulaError:
        code = 1
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended_within(child: int, seconds: float) -> int | None:
    """The exit code of a process that ends by itself, or None after killing it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    seed: int, whole: Path, store: Path, tmp_path: Path
) -> None:
    moment, run, kills = random.Random(seed), tmp_path / "run", 0
    patience = 0.3  # seconds; grows, so that a machine too busy for one step in it gets there too
    while (code := ended_within(in_a_child(store, run), moment.uniform(0.0, patience))) is None:
        kills, patience = kills + 1, patience * 1.05
        assert all(read_tensors(path) for path in checkpoints(run))  # never an unreadable file
        assert kills < 100
    assert code == 0
    assert kills
    assert same_end(whole, run)
    assert [row["step"] for row in rows(run)] == list(range(1, 15))
    assert not list(run.rglob("*.partial"))


def test_sigterm_to_the_command_checkpoints_and_exits_143(
    whole: Path, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    child = in_a_child(store, run, checkpoint_steps=10_000)
    while not (run / "run.json").exists() or state(run).get("status") != "training":
        time.sleep(0.001)
    time.sleep(0.03)
    os.kill(child, signal.SIGTERM)
    assert exit_code(child) == 143
    found = newest(run)
    assert found is not None
    assert found[0] == state(run)["step"] == len(rows(run))
    assert exit_code(in_a_child(store, run, checkpoint_steps=10_000)) == 0
    assert same_end(whole, run)


@pytest.mark.parametrize("limit", [700, 1_500, 3_000])
def test_files_that_may_not_grow_are_a_clear_error_and_nothing_is_lost(
    limit: int, whole: Path, store: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert exit_code(in_a_child(store, run, limit)) == 1
    assert all(read_tensors(path) for path in checkpoints(run))
    assert exit_code(in_a_child(store, run)) == 0
    assert same_end(whole, run)


@pytest.mark.slow
def test_two_ranks_train_continue_and_agree(store: Path, tmp_path: Path) -> None:
    """Started by torchrun; stopped on the way; each rank took half of every batch."""
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--log-dir", str(tmp_path), "-m", "nerula.cli", "pretrain", NAME, str(store),
    ]  # fmt: skip
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    for name, more in (("one", []), ("two", ["--trouble", "term", "--at", "9"])):
        run = tmp_path / name
        for _ in range(3):
            words = [*command, str(run), *options, *more]
            done = subprocess.run(
                words, check=False, capture_output=True, text=True, timeout=120, cwd=ROOT
            )
            # on a busy machine torchrun itself may not come up: that start left no run behind
            if (run / "run.json").exists() and state(run).get("status") == "finished":
                break
        assert done.returncode == 0, done.stderr
    assert same_end(tmp_path / "one", tmp_path / "two")
