"""Started by torchrun, for real: two nodes' agents, a rank that is killed, fewer ranks after."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nerula.pretrain import pretrain
from nerula.run import checkpoints, newest, read_tensors
from tests.test_ranks import SMALL, make_two_leads
from tests.test_train import rows, same_end, state

ROOT = Path(__file__).parents[1]
OPTIONS = {
    "epochs": 10, "batch": 8, "window": 5.12, "threads": 1, "precision": "fp32", "folds": "all",
    "leads": "II", "checkpoint_steps": 10, **SMALL["nerula"],
}  # fmt: skip
STEPS = 50

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds a rank in /proc"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ranks") / "store"
    make_two_leads(path)
    return path


def torchrun(store: Path, run: Path, *launch: str) -> "subprocess.Popen[str]":
    options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
    words = [sys.executable, "-m", "torch.distributed.run", *launch]
    words += ["-m", "nerula", "pretrain", "nerula", str(store), str(run), *options]
    return subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def done(*started: "subprocess.Popen[str]") -> None:
    for one in started:
        said, _ = one.communicate(timeout=250)
        assert one.returncode == 0, said


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nodes on this machine: an agent and a rank each, which meet at a port of their own."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=nerula"]
    launch += [f"--rdzv-endpoint=127.0.0.1:{port}", "--local-addr=127.0.0.1"]
    done(*(torchrun(store, run, *launch, f"--node-rank={node}") for node in (0, 1)))
    return run


def test_two_nodes_train_one_model(undisturbed: Path) -> None:
    assert state(undisturbed)["status"] == "finished"
    assert state(undisturbed)["ranks"] == 2
    assert [row["step"] for row in rows(undisturbed)] == list(range(1, STEPS + 1))


def rank_of(agent: int, rank: int) -> int | None:
    """The process that a torchrun started as this rank."""
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            mine = f"\0RANK={rank}\0".encode() in (folder / "environ").read_bytes()
        except (OSError, IndexError):
            continue
        if folder.name.isdecimal() and int(parent) == agent and mine:
            return int(folder.name)
    return None


def test_a_killed_rank_is_restarted_and_the_weights_are_those_of_an_undisturbed_run(
    store: Path, undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    agent = torchrun(store, run, "--standalone", "--max-restarts=3", "--nproc-per-node=2")
    while not checkpoints(run) and agent.poll() is None:
        time.sleep(0.005)
    victim = rank_of(agent.pid, 1)
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    assert state(run)["status"] == "training"
    assert all(read_tensors(path) for path in checkpoints(run))
    done(agent)
    assert same_end(undisturbed, run)


def test_another_number_of_ranks_continues_and_says_what_changes(
    store: Path, undisturbed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    shutil.rmtree(run / "model")
    checkpoints(run)[-1].unlink()  # as if it had ended at the one before
    (run / "run.json").write_text(
        (run / "run.json").read_text().replace('"finished"', '"training"')
    )
    assert pretrain("nerula", store, run, **OPTIONS) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "2 processes trained until step" in said
    assert "from here on 1" in said
    assert state(run)["ranks"] == 1
    (step, one), (other, two) = newest(run), newest(undisturbed)  # type: ignore[misc]
    assert step == other == STEPS
    weights = [name for name in one if name.startswith("method/encoder")]
    apart = max((one[name] - two[name]).abs().max() for name in weights)
    assert 0 < apart < 1e-4  # another order of sums, and AdamW, which amplifies it
    losses = [[row["loss"] for row in rows(path)] for path in (run, undisturbed)]
    assert max(abs(a - b) for a, b in zip(*losses, strict=True)) < 1e-3
