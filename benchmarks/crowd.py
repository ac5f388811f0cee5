"""Streams under load: 200 clients on loopback for a minute, each with its own `Stream`.

    python -m benchmarks.crowd [--clients 200] [--seconds 60]

A client sends real ECG as a device would, 100 numbered rows a second in packets of a quarter of
one, and reads the lines that come back: a window of ten seconds, every two seconds. One row in a
hundred is lost, and now and then two packets change their places. All of them are served by one
process with one model, so that its memory and its processor time can be told from the clients'.
"""

import argparse
import asyncio
import json
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
from benchmarks.viewing import CLIENTS, SECONDS, memory, processor

QUICK = 15.0
RATE, PACKET, EVERY = 100, 0.25, 2.0
LOST, SWAPPED = 0.01, 0.05
HEADER = b"seq,II (uV)\n"
PATIENCE = 1.0


@dataclass
class Load:
    """What came of it."""

    waits: list[float] = field(default_factory=list)
    """Seconds from the packet that made a window whole to its line."""
    lines: int = 0
    errors: Counter[str] = field(default_factory=Counter)


# --- the clients -----------------------------------------------------------------------------


async def load(port: int, clients: int, seconds: float) -> Load:
    """So many devices, so long."""
    found = Load()
    await asyncio.gather(*(_device(port, number, seconds, found) for number in range(clients)))
    return found


async def _device(port: int, number: int, seconds: float, found: Load) -> None:
    from nerula import sample

    draw = np.random.default_rng(number)
    await asyncio.sleep(draw.random() * EVERY)  # not all of them at the same moment
    signal = np.resize(sample.load().microvolts[number], round((seconds + PACKET) * RATE))
    sent: dict[int, float] = {}
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        hearing = asyncio.create_task(_hear(reader, sent, found))
        writer.write(HEADER)
        begun = time.perf_counter()
        for count, packet in enumerate(_packets(signal, draw)):
            await asyncio.sleep(max(0.0, begun + count * PACKET - time.perf_counter()))
            writer.write(packet)
            sent[count] = time.perf_counter()
        writer.write_eof()
        await hearing
        writer.close()
    except (OSError, ValueError) as error:
        found.errors[f"{type(error).__name__}: {error}"] += 1


def _packets(signal: np.ndarray, draw: np.random.Generator) -> Iterator[bytes]:
    """Rows with their numbers; some lost, some packets in the other order."""
    size = round(PACKET * RATE)
    packets = []
    for first in range(0, len(signal) - size + 1, size):
        kept = first + np.flatnonzero(draw.random(size) >= LOST)
        packets.append(b"".join(b"%d,%d\n" % (row, signal[row]) for row in kept))
    for place in np.flatnonzero(draw.random(len(packets) - 1) < SWAPPED):
        packets[place : place + 2] = packets[place : place + 2][::-1]
    yield from packets


async def _hear(reader: asyncio.StreamReader, sent: dict[int, float], found: Load) -> None:
    """Read lines to the end; each has to be a window with an embedding."""
    while line := await reader.readline():
        said = json.loads(line)
        if said.get("embedding") is None or not 0.9 < said["valid"] <= 1:
            found.errors[f"a line says {str(said)[:60]}"] += 1
        whole = int((said["end"] + PATIENCE) / PACKET)
        if whole in sent:
            found.waits.append(time.perf_counter() - sent[whole])
        found.lines += 1


# --- the server ------------------------------------------------------------------------------


async def serve() -> None:
    """A stream for each connection; all windows are embedded by one thread, in their turn."""
    import nerula

    model, turn = nerula.load("nerula-small"), asyncio.Lock()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from nerula.readers.source import Hints
        from nerula.stream import Stream
        from nerula.streaming.lines import Lines
        from nerula.streaming.live import as_json

        lines, live = Lines(Hints(float(RATE)), Path("loopback")), None
        while True:
            data = await reader.read(1 << 14)
            emitted = []
            for packet in lines.feed(data, last=not data):
                live = live or Stream(
                    model, lines.rate, EVERY, leads=lines.leads, patience=PATIENCE
                )
                async with turn:
                    emitted += await asyncio.to_thread(live.push, packet.samples, packet.at)
            if not data and live is not None:
                emitted += await asyncio.to_thread(live.close)
            for one in emitted:
                writer.write(as_json(one, embedding=True, probed=False).encode() + b"\n")
            await writer.drain()
            if not data:
                break
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The server in a process of its own, and its port."""
    words = [sys.executable, "-m", "benchmarks.crowd", "--serve"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(30)


# --- the figures -----------------------------------------------------------------------------


def measured(clients: int, seconds: float) -> Iterator[Figure]:
    """Serve, send, and say what came of it."""
    group = f"{clients} clients of streams for {seconds:g} s"
    with server() as (process, port):
        asyncio.run(load(port, clients, 12.0))  # what is made once is made
        before, used = memory(process.pid), processor(process.pid)
        found = asyncio.run(load(port, clients, seconds))
        after, spent = memory(process.pid), processor(process.pid) - used
    wrong = ", ".join(f"{count} x {what}" for what, count in found.errors.items())
    waits = 1000 * np.array(found.waits)
    yield Figure(group, "errors", sum(found.errors.values()), "", wrong)
    yield Figure(group, "windows", found.lines / seconds, "per second", f"{found.lines:,} in all")
    yield Figure(
        group, "median wait", float(np.median(waits)), "ms", "a window is whole: its line"
    )
    yield Figure(group, "99th percentile", float(np.percentile(waits, 99)), "ms")
    yield Figure(group, "processor per window", 1000 * spent / found.lines, "ms")
    yield Figure(group, "memory before", before, "MB", "after as many clients of 12 s")
    yield Figure(group, "memory after", after, "MB")


def measure(setting: Setting) -> Iterator[Figure]:
    """What `python -m benchmarks` asks for."""
    yield from measured(CLIENTS, QUICK if setting.quick else SECONDS)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crowd", description=__doc__)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--serve", action="store_true", help="be the server")
    words = parser.parse_args()
    if words.serve:
        asyncio.run(serve())
        return
    for figure in measured(words.clients, words.seconds):
        Console().print(f"{figure.name:24} {figure.value:10,.2f} {figure.unit} {figure.note}")


if __name__ == "__main__":
    main()
