"""The viewer under load: 200 clients side by side for a minute, without an error.

    python -m benchmarks.viewing [--clients 200] [--seconds 60]

Each client is a connection that asks as the page does: for lists, recordings, signals, quality,
and now and then for a filled gap or neighbours. The viewer is a process of its own, so that its
memory and its processor time can be told from the clients'.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import Figure, Setting

CLIENTS, SECONDS, QUICK = 200, 60.0, 5.0
RECORDINGS = 1200
PATHS = (
    ("list", 3, "/api/recordings?start={page}&count=50"),
    ("search", 2, "/api/recordings?words=AFIB&sex=female"),
    ("recording", 3, "/api/recordings/{row}"),
    ("signal", 6, "/api/recordings/{row}/signal?points=4000"),
    ("quality", 2, "/api/recordings/{row}/quality"),
    ("map", 1, "/api/progress"),
    ("page", 1, "/"),
    ("fill", 1, "/api/recordings/{row}/fill?gap=3.1-3.5"),
    ("neighbours", 1, "/api/recordings/{row}/answers"),
)
"""What is asked, how often, and where."""


@dataclass
class Load:
    """What came of it."""

    waits: list[float] = field(default_factory=list)
    """Seconds of each answered request."""
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests per second."""
        return len(self.waits) / self.seconds

    def percentile(self, share: float) -> float:
        """Milliseconds within which that share was answered."""
        return 1000 * float(np.percentile(self.waits, share))


async def load(port: int, clients: int, seconds: float, rows: int = RECORDINGS) -> Load:
    """Ask with so many connections at once for so long."""
    found = Load()
    begun = time.perf_counter()
    await asyncio.gather(
        *(_client(port, number, begun + seconds, rows, found) for number in range(clients))
    )
    found.seconds = time.perf_counter() - begun
    return found


async def _client(port: int, number: int, until: float, rows: int, found: Load) -> None:
    draw = np.random.default_rng(number)
    shares = np.array([weight for _, weight, _ in PATHS], float)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while time.perf_counter() < until:
            _, _, path = PATHS[int(draw.choice(len(PATHS), p=shares / shares.sum()))]
            asked = path.format(row=int(draw.integers(rows)), page=50 * int(draw.integers(20)))
            begun = time.perf_counter()
            writer.write(f"GET {asked} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            await writer.drain()
            status = await _answer(reader)
            if status != 200:
                found.errors[f"{status} {path}"] += 1
            found.waits.append(time.perf_counter() - begun)
    except (OSError, asyncio.IncompleteReadError, ValueError) as error:
        found.errors[type(error).__name__] += 1
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end; return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    said = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    await reader.readexactly(int(said["content-length"]))
    return int(head[0].split()[1])


@contextmanager
def viewer(store: str = "sample") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`nerula view` in a process of its own, and its port."""
    words = [sys.executable, "-m", "nerula.cli", "view", store, "--no-open", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address = next(line for line in process.stdout if "http://" in line)
        yield process, int(address.split("http://127.0.0.1:")[1].split()[0])
    finally:
        process.terminate()
        process.wait(30)


async def _ready(port: int) -> None:
    """Wait until the store is embedded: what is measured is serving."""
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /api/progress HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        if json.loads(answer.split(b"\r\n\r\n", 1)[1])["state"] in ("done", "failed"):
            return
        await asyncio.sleep(0.5)


def memory(process: int) -> float:
    """Megabytes that a process holds, or NaN where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measured(clients: int, seconds: float) -> Iterator[Figure]:
    """Start the viewer, ask, and say what came of it."""
    group = f"{clients} clients of the viewer for {seconds:g} s"
    with viewer() as (process, port):
        asyncio.run(_ready(port))
        asyncio.run(load(port, clients, min(seconds, 2)))  # what is made once is made
        before, used = memory(process.pid), processor(process.pid)
        found = asyncio.run(load(port, clients, seconds))
        after, spent = memory(process.pid), processor(process.pid) - used
    wrong = ", ".join(f"{count} x {what}" for what, count in found.errors.items())
    yield Figure(group, "errors", sum(found.errors.values()), "", wrong)
    yield Figure(group, "requests", found.rate, "per second", f"{len(found.waits):,} in all")
    yield Figure(group, "median wait", found.percentile(50), "ms")
    yield Figure(group, "99th percentile", found.percentile(99), "ms")
    yield Figure(group, "processor per request", 1000 * spent / len(found.waits), "ms")
    yield Figure(group, "memory before", before, "MB", "model and store included")
    yield Figure(group, "memory after", after, "MB")


def processor(process: int) -> float:
    """Seconds of processor time that a process has used."""
    try:
        words = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return float("nan")
    return sum(map(int, words.split()[11:13])) / os.sysconf("SC_CLK_TCK")


def measure(setting: Setting) -> Iterator[Figure]:
    """What `python -m benchmarks` asks for."""
    yield from measured(CLIENTS, QUICK if setting.quick else SECONDS)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewing", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    words = parser.parse_args()
    for figure in measured(words.clients, words.seconds):
        Console().print(f"{figure.name:24} {figure.value:10,.2f} {figure.unit} {figure.note}")


if __name__ == "__main__":
    main()
