"""Streaming: a day of one lead at 100 Hz through `nerula stream`, on one core.

The figure is what the whole command takes of the processor, with starting Python, loading the
model, reading and writing; and how many times faster than the signal that is.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import Figure, Setting
from nerula import cli, sample

RATE = 100
DAY = 24 * 3600


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure raw samples and a table with times, from a file on standard input."""
    seconds = DAY // 24 if setting.quick else DAY
    x = sample.load().microvolts.reshape(-1)
    x = np.resize(x, seconds * RATE)
    group = f"streaming, {seconds // 3600} h of one lead at {RATE} Hz, nerula-small, one core"
    for name, path, words in (
        ("raw int16", _raw(setting.scratch, x), ["--format", "int16", "--gain", "1000"]),
        ("CSV with times", _table(setting.scratch, x), []),
    ):
        spent, peak = _spent(path, ["--rate", str(RATE), *words])
        yield Figure(group, f"{name}, processor time", spent, "s")
        note = "aim: 1,000" if seconds == DAY else "an hour: starting weighs more than in a day"
        yield Figure(group, f"{name}, times real time", seconds / spent, "", note)
        yield Figure(group, f"{name}, most memory", peak / 2**20, "MiB")


def _raw(folder: Path, x: np.ndarray) -> Path:
    path = folder / "day.raw"
    x.astype("<i2").tofile(path)
    return path


def _table(folder: Path, x: np.ndarray) -> Path:
    path = folder / "day.csv"
    with path.open("w", encoding="ascii") as file:
        file.write("time_s,II (uV)\n")
        for start in range(0, len(x), 1 << 16):
            part = enumerate(x[start : start + (1 << 16)].tolist(), start)
            file.write("".join(f"{i / RATE:.2f},{value}\n" for i, value in part))
    return path


def _spent(path: Path, words: list[str]) -> tuple[float, float]:
    """Seconds of processor time and most bytes of a child that is kept on one core."""
    script = [sys.executable, "-m", "nerula.cli", "stream", "nerula-small", *words]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with path.open("rb") as file:
        subprocess.run(
            script, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True,
            env=os.environ | cli.ENVIRONMENT | {"OMP_NUM_THREADS": "1"}, preexec_fn=_one_core,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = sum(getattr(after, kind) - getattr(before, kind) for kind in ("ru_utime", "ru_stime"))
    return spent, after.ru_maxrss * 1024


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
