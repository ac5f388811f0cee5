"""`prepare` is killed, or runs out of disk: the next run ends with the same bytes."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nerula import chunks, workers
from nerula.engines import Local
from nerula.errors import NerulaError
from nerula.prepare import Options, make_store
from nerula.store import INDEX, Store
from nerula.workplace import UNFINISHED
from tests.test_prepare import content
from tests.ward import Ward

OPTIONS = Options(leads=("II", "I"), band=(0.5, 40.0))
WARD = Ward(150, trouble_every=30)
EXIT_DISK_FULL = 7

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    store = tmp_path_factory.mktemp("expected") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "ENTRIES", 32)
        make_store(WARD, store, OPTIONS)
    return content(store)


def run(store: Path, jobs: int, before: Callable[[], object] | None = None) -> None:
    """What a child process does; `before` arms the accident."""
    chunks.ENTRIES = 32
    if before:
        before()
    try:
        make_store(WARD, store, OPTIONS, Local(jobs))
    except NerulaError as error:
        os._exit(EXIT_DISK_FULL if "disk" in str(error) else 1)


def child(store: Path, jobs: int = 1, before: Callable[[], object] | None = None) -> Any:
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_prepare_crash", "nerula.chunks", "nerula.summary"])
    process = context.Process(target=run, args=(store, jobs, before))
    process.start()
    return process


def assert_no_half_store(store: Path) -> None:
    """A folder that calls itself a store is a whole one."""
    if (store / INDEX).exists():
        Store.open(store).check()


# --- kill -9 -------------------------------------------------------------------------------------


def die_at(step: int) -> None:
    """Arm `kill -9` at the n-th thing that is done to the file system."""
    left = [step]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **more: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **more)

        return wrapped

    for owner, name in (
        (Path, "replace"), (Path, "mkdir"), (Path, "open"), (Path, "unlink"),
        (os, "fsync"), (os, "rmdir"), (os, "unlink"), (shutil, "rmtree"),
    ):  # fmt: skip
        setattr(owner, name, counted(getattr(owner, name)))


@pytest.mark.parametrize("every", [11, pytest.param(4, marks=pytest.mark.slow)])
def test_killed_at_any_step_on_the_file_system(
    tmp_path: Path, expected: dict[str, bytes], every: int
) -> None:
    """The n-th step is the last one of the n-th run; the runs after it continue."""
    for step in range(1, 400, every):
        store = tmp_path / f"store-{step}"
        process = child(store, before=partial(die_at, step))
        process.join()
        assert_no_half_store(store)
        if process.exitcode == 0:  # fewer steps than that: every one was tried
            assert step > 50
            return
        assert process.exitcode == -signal.SIGKILL
        if step % 3 == 0:  # and once more, somewhere in the run that continues
            child(store, before=partial(die_at, step // 2)).join()
            assert_no_half_store(store)
        make_store(WARD, store, OPTIONS)
        assert content(store) == expected
        shutil.rmtree(store)
    pytest.fail("it never came to an end")


def kill_at_random(store: Path, chance: random.Random, whole: float, jobs: int) -> bool:
    """Start, wait a random while, kill; return whether it was too late."""
    process = child(store, jobs)
    time.sleep(chance.random() * whole)
    late = not process.is_alive()
    process.kill()
    process.join()
    assert_no_half_store(store)
    return late


@pytest.mark.parametrize(
    "moments", [4, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_killed_at_random_moments_it_always_continues(
    tmp_path: Path, expected: dict[str, bytes], moments: int
) -> None:
    chance = random.Random(moments)
    whole = {}
    for jobs in (1, 2):
        begin = time.perf_counter()
        child(tmp_path / f"timed-{jobs}", jobs).join()
        whole[jobs] = time.perf_counter() - begin
    killed = finished = 0
    while killed < moments:
        store, jobs = tmp_path / f"store-{finished}", 1 + finished % 2
        while killed < moments and not kill_at_random(store, chance, whole[jobs], jobs):
            killed += 1
        process = child(store, jobs)
        process.join()
        assert process.exitcode == 0
        assert content(store) == expected
        finished += 1
        assert finished < 3 * moments  # else the moments come too late to prove anything


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=lingering, args=(tmp_path,))
    process.start()
    names: list[str] = []
    for _ in range(200):
        names = sorted(path.name for path in tmp_path.iterdir())
        if len(names) == 2:
            break
        time.sleep(0.05)
    assert len(names) == 2
    process.kill()
    process.join()
    for _ in range(200):
        if not any(alive(int(name)) for name in names):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived its parent")


def lingering(folder: Path) -> None:
    for _ in workers.spread(partial(leave_a_name, folder), range(10**6), jobs=2):
        pass


def leave_a_name(folder: Path, task: int) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(0.05)
    return task


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- a full disk ---------------------------------------------------------------------------------


def largest_file(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("size", [500, 5_000, 250_000])
def test_a_full_disk_is_said_and_nothing_is_lost(
    tmp_path: Path, expected: dict[str, bytes], size: int, jobs: int
) -> None:
    largest = max(len(data) for data in expected.values())
    assert size < largest
    store = tmp_path / "store"
    process = child(store, jobs, partial(largest_file, size))
    process.join()
    assert process.exitcode == EXIT_DISK_FULL
    assert_no_half_store(store)
    assert not list(store.rglob("*.partial"))
    kept = sorted((store / UNFINISHED).glob("*.arrow"))
    assert len(kept) == (5 if size > 200_000 else 0)  # the parts fit, the joined signals do not
    make_store(WARD, store, OPTIONS)
    assert content(store) == expected


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ENTRIES", 32)
