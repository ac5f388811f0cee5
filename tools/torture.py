"""Torture: training is killed, starved and told to stop at random moments; it has to end alike.

    python -m tools.torture [--share 1.0] [--seed 0] [--out results/torture.json]

Every scenario continues its runs until they are finished, and compares them with one that nothing
disturbed: checkpoint, moving averages, optimiser, losses and model, bit for bit. After every
accident all files that are there have to be readable.
"""

import argparse
import ctypes
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nerula import run as runs
from nerula import sample
from nerula.errors import NerulaError
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.pretrain import STOPPED, pretrain
from nerula.run import checkpoints, newest, read_json, read_tensors

METHOD = "tests.tiny:Tiny"
OPTIONS = {"epochs": 2, "batch": 16, "threads": 1, "precision": "fp32", "checkpoint_steps": 1}
STEPS = 14
TIMES = {"kill -9": 200, "kill -9 in a checkpoint": 50, "disk full": 20, "SIGTERM": 20, "torn": 20}
FULL, NO_DISK = 1, 98
"""Exit codes of a child: an error that was said; and no small disk to be had."""
NEW_USER, NEW_MOUNTS, REMOUNT = 0x10000000, 0x00020000, 32


@dataclass
class Row:
    """What one scenario found."""

    what: str
    times: int = 0
    resumed: int = 0
    """Runs that were continued and came to their end."""
    identical: int = 0
    unreadable: int = 0
    how: str = ""

    @property
    def good(self) -> bool:
        """Whether nothing was lost."""
        return self.resumed == self.identical > 0 and not self.unreadable


@dataclass
class Victim:
    """A store, and how a training on it ends when it is left alone."""

    folder: Path
    chance: random.Random
    expected: str = ""
    seconds: float = 0.0
    made: int = field(default=0, repr=False)

    @classmethod
    def prepared(cls, folder: Path, seed: int) -> "Victim":
        """Make the store and the training that nothing disturbs."""
        make_store(sample.load(), folder / "store", Preparation(leads=("II",), limit=175))
        victim = cls(folder, random.Random(seed))
        run = victim.new()
        begin = time.perf_counter()
        if ended(victim.start(run)):
            raise RuntimeError("an undisturbed training failed")
        victim.seconds, victim.expected = time.perf_counter() - begin, end_of(run)
        return victim

    def new(self) -> Path:
        """A folder for another run."""
        self.made += 1
        return self.folder / f"run-{self.made}"

    def start(self, run: Path, before: Callable[[], object] | None = None) -> int:
        """Train in a forked process, which has torch in memory already; return its id."""
        return in_a_child(lambda: pretrain(METHOD, self.folder / "store", run, **OPTIONS), before)

    def judge(self, run: Path, row: Row) -> None:
        """Continue a run to its end, and compare; what is alike is deleted."""
        row.resumed += ended(self.start(run)) == 0
        alike = end_of(run) == self.expected
        row.identical += alike
        if alike:
            shutil.rmtree(run)


def in_a_child(work: Callable[[], int], before: Callable[[], object] | None = None) -> int:
    """Fork; in the child `before` arms an accident and `work` gives the exit code.

    SIGTERM waits until the child is itself: what its parent does when it hears one is not for it.
    """
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return child
    code = 99
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if before is not None:
            before()
        code = work()
    except NerulaError:
        code = FULL
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child's exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def ended_within(child: int, seconds: float) -> int | None:
    """The exit code of a child that ends by itself, or None after killing it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def end_of(run: Path) -> str:
    """A digest of all that has to be alike: last checkpoint, losses, model."""
    found = newest(run)
    if found is None or not (run / runs.MODEL / "model.safetensors").exists():
        return "no end"
    lines = (run / runs.METRICS).read_text(encoding="utf-8").splitlines()
    losses = [(row["step"], row["loss"]) for row in map(json.loads, lines)]
    model = (run / runs.MODEL / "model.safetensors").read_bytes()
    parts = (runs.digest(found[1]), repr(losses), hashlib.sha256(model).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def unreadable(run: Path) -> int:
    """How many files under their own name cannot be read."""
    bad = 0
    tensors = [*checkpoints(run), *(run / runs.MODEL).glob("*.safetensors")]
    documents = [path for path in (run / runs.CONFIG, run / runs.STATE) if path.exists()]
    for path, read in [(p, read_tensors) for p in tensors] + [(p, read_json) for p in documents]:
        try:
            read(path)  # type: ignore[operator]
        except NerulaError:
            bad += 1
    return bad


# --- the accidents -------------------------------------------------------------------------------


def kills(victim: Victim, times: int) -> Row:
    """`kill -9` at random moments, several in one run, from its first file to its model."""
    row, run = Row("kill -9", how="at a random moment"), victim.new()
    while row.times < times:
        moment = victim.chance.uniform(0, victim.seconds)
        if ended_within(victim.start(run), moment) is None:
            row.times += 1
            row.unreadable += unreadable(run)
            victim.seconds *= 1.05  # so that a machine too busy for one step in it gets there too
        else:
            victim.seconds *= 0.7  # too late
            victim.judge(run, row)
            run = victim.new()
    victim.judge(run, row)
    return row


def kills_in_a_checkpoint(victim: Victim, times: int) -> Row:
    """`kill -9` between two steps on the file system, or in the middle of a write."""
    row = Row("kill -9 in a checkpoint", how="in a write, at a fsync, a rename, an unlink")
    run = victim.new()
    for number in range(times):
        step, moment = victim.chance.randrange(1, 4), victim.chance.randrange(-3, 9)
        code = ended(victim.start(run, lambda s=step, m=moment: die_in_save(s, m)))
        row.times += code == -signal.SIGKILL
        row.unreadable += unreadable(run)
        if code == 0 or number % 4 == 3:
            victim.judge(run, row)
            run = victim.new()
    if run.exists():
        victim.judge(run, row)
    return row


def die_in_save(number: int, moment: int) -> None:
    """Arm `kill -9` in the n-th checkpoint: at a call, or (below 0) in the midst of a write."""
    left, original = [number], runs.Run.save

    def save(self: runs.Run, *words: Any) -> None:
        left[0] -= 1
        if not left[0]:
            if moment < 0:
                runs.replacing = torn_writing(runs.replacing, -moment / 4)
            else:
                die_at_call(moment)
        original(self, *words)

    runs.Run.save = save


def torn_writing(replacing: Any, share: float) -> Any:
    """Write a share of the file, and die."""

    @contextmanager
    def replaced(path: Path, **more: Any) -> Any:
        with replacing(path, **more) as file:
            original = file.write

            class Torn:
                def write(self, content: bytes) -> int:
                    original(content[: round(share * len(content))])
                    file.flush()
                    os.kill(os.getpid(), signal.SIGKILL)
                    return 0

            yield Torn()

    return replaced


def die_at_call(moment: int) -> None:
    """Arm `kill -9` at the n-th call that changes the file system from now on."""
    left = [moment]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*words: Any, **more: Any) -> Any:
            if left[0] <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return original(*words, **more)

        return wrapped

    for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "open"), (Path, "unlink")):
        setattr(owner, name, counted(getattr(owner, name)))


def terms(victim: Victim, times: int) -> Row:
    """SIGTERM at random moments: it ends by itself, with a checkpoint of its last step."""
    row, run = Row("SIGTERM", how="at a random moment"), victim.new()
    while row.times < times:
        child = victim.start(run)
        time.sleep(victim.chance.uniform(0, victim.seconds))
        os.kill(child, signal.SIGTERM)
        code = ended(child)
        row.times += code in (STOPPED, -signal.SIGTERM)  # before the loop listens it just ends
        row.unreadable += unreadable(run)
        if code == 0:
            victim.seconds *= 0.7
            victim.judge(run, row)
            run = victim.new()
    victim.judge(run, row)
    return row


def tears(victim: Victim, times: int) -> Row:
    """The newest checkpoint is cut, full of zeros, or has another bit: the one before counts."""
    row = Row("torn", how="newest checkpoint cut, with zeros at its end, with another bit")
    for number in range(times):
        run, after = victim.new(), victim.chance.randrange(2, STEPS)
        ended(victim.start(run, lambda a=after: die_in_save(a, 0)))
        damage(checkpoints(run)[-1], number % 3, victim.chance)
        row.times += 1
        victim.judge(run, row)
    return row


def damage(path: Path, kind: int, chance: random.Random) -> None:
    """Leave a file as a power cut might."""
    content = bytearray(path.read_bytes())
    place = chance.randrange(len(content))
    if kind == 0:
        del content[place:]
    elif kind == 1:
        content[place:] = bytes(len(content) - place)
    else:
        content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def full_disks(victim: Victim, times: int) -> Row:
    """A disk that is full: an error is said, and with more room the same command continues."""
    row = Row("disk full", how="a tmpfs of some kilobytes in a namespace of its own")
    for _ in range(times):
        size = victim.chance.randrange(1, 13) * 4096
        place = victim.folder / "disk"
        place.mkdir(exist_ok=True)
        code = ended(in_a_child(lambda s=size, p=place: on_a_small_disk(victim, p, s)))
        if code == NO_DISK:
            return fewer_bytes(victim, times)
        row.times += bool(code & 8)
        row.resumed += bool(code & 1)
        row.identical += bool(code & 2)
        row.unreadable += not code & 4
    return row


def on_a_small_disk(victim: Victim, place: Path, size: int) -> int:
    """Train until the disk is full, make room, train on; what was found, as bits."""
    if not small_disk(place, size):
        return NO_DISK
    run, row = place / "run", Row("")
    code = ended(victim.start(run))
    readable = code in (0, FULL) and not unreadable(run)
    mount(place, 1 << 26, REMOUNT)
    victim.judge(run, row)
    return row.resumed + 2 * row.identical + 4 * readable + 8 * (code == FULL)


def small_disk(place: Path, size: int) -> bool:
    """Mount a tmpfs of `size` bytes that only this process and its children see."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.geteuid()
    if libc.unshare(NEW_MOUNTS if own == 0 else NEW_MOUNTS | NEW_USER):
        return False
    try:
        if own:
            Path("/proc/self/uid_map").write_text(f"0 {own} 1", encoding="ascii")
        return libc.mount(None, b"/", None, 0x44000, None) == 0 and mount(place, size)
    except OSError:
        return False


def mount(place: Path, size: int, flags: int = 0) -> bool:
    """Mount a tmpfs, or change its size."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = (b"tmpfs", bytes(place), b"tmpfs", flags, f"size={size}".encode())
    return bool(libc.mount(*words) == 0)


def fewer_bytes(victim: Victim, times: int) -> Row:
    """Where no disk can be made: no file may grow beyond some bytes."""
    row = Row("disk full", how="RLIMIT_FSIZE: no tmpfs may be mounted here")
    for _ in range(times):
        run, size = victim.new(), victim.chance.randrange(200, 4000)
        limits = (size, size)
        row.times += (
            ended(
                victim.start(
                    run, lambda one=limits: resource.setrlimit(resource.RLIMIT_FSIZE, one)
                )
            )
            == FULL
        )
        row.unreadable += unreadable(run)
        victim.judge(run, row)
    return row


SCENARIOS: dict[str, Callable[[Victim, int], Row]] = {
    "kill -9": kills,
    "kill -9 in a checkpoint": kills_in_a_checkpoint,
    "disk full": full_disks,
    "SIGTERM": terms,
    "torn": tears,
}


def main() -> int:
    """Run all of it, print a table, keep it as JSON."""
    from rich.console import Console
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the full number of accidents")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    begin, found = time.perf_counter(), []
    table = Table("what", "how", "times", "runs resumed", "identical", "unreadable files")
    with tempfile.TemporaryDirectory() as folder:
        victim = Victim.prepared(Path(folder), asked.seed)
        for name, scenario in SCENARIOS.items():
            row = scenario(victim, max(1, round(asked.share * TIMES[name])))
            found.append(row)
            print(row, flush=True)
            numbers = (row.times, row.resumed, row.identical, row.unreadable)
            table.add_row(row.what, row.how, *map(str, numbers))
    Console().print(table)
    if asked.out is not None:
        seconds = round(time.perf_counter() - begin)
        facts = {
            "command": " ".join(["python -m tools.torture", *sys.argv[1:]]),
            "seconds": seconds,
        }
        document = {**facts, "rows": [asdict(row) for row in found]}
        asked.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return not all(row.good for row in found)


if __name__ == "__main__":
    sys.exit(main())
