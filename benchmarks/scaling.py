"""A store that does not fit into memory: the same steps with every page cold and every page warm.

Cold means: before each batch all pages of the store are dropped, from this process and from the
system's cache. That is a store of infinitely many times the memory, worse than any real one, of
which a part is always cached. Warm means: the store is in memory as a whole.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from mmap import MADV_DONTNEED, MADV_NORMAL, MADV_RANDOM
from pathlib import Path

import numpy as np
import torch

import nerula
from benchmarks import Figure, Setting
from nerula import sample
from nerula.batches import Batches
from nerula.chunks import Preparation, chunked
from nerula.contract import Contract
from nerula.embed import Embedding
from nerula.machine import Machine
from nerula.method import Batch
from nerula.methods import build
from nerula.options import Options
from nerula.readers import open_source
from nerula.recording import Recording
from nerula.store import SIGNALS, VALIDITY, Store
from nerula.survey import Inspection
from nerula.writer import Rows, StoreWriter

BATCH = 128
RECORDINGS = 163_840


def measure(setting: Setting) -> Iterator[Figure]:
    """Gather and train on the bundled sample, repeated to 163,840 recordings of 10 s."""
    store = _repeated(setting.scratch / "store")
    machine = Machine.chosen(Options(threads=1))
    device = machine.enter()
    batches = Batches(store, build("nerula").needs, Options(batch=BATCH), device)
    repeat = 10 if setting.quick else 30
    each = sum(store.facts["files"].values()) / len(store)
    yield Figure("store", "10 s of one lead at 100 Hz", each, "bytes", "all files of the store")
    yield from _verbs(setting)
    yield from _gathering(store, batches, repeat)
    yield from _training(store, batches, machine, repeat // 3)


def _verbs(setting: Setting) -> Iterator[Figure]:
    """What a chunk costs a core in the three verbs that go to a cluster, in processor time."""
    source = open_source(setting.data / "ptbxl") if setting.data else sample.load()
    some = list(islice(chunked(source), 2))
    model = nerula.load("nerula-small")
    leads = source.leads or ("II",)
    works = {
        f"prepare, {len(leads)} leads": Preparation(
            source, Contract(leads, 100.0), setting.scratch
        ),
        "prepare, lead II": Preparation(source, Contract(("II",), 100.0), setting.scratch),
        f"check, {len(leads)} leads": Inspection(source, None),
        "embed, lead II, nerula-small": Embedding(model, source, model.contract),
    }
    for name, work in works.items():
        work(some[0])
        begin = time.process_time()
        work(some[1])
        rate = len(some[1].entries) / (time.process_time() - begin)
        yield Figure("one core", name, rate, "recordings/s", f"{source.kind}, processor time")


def _repeated(path: Path) -> Store:
    contract, rows, ecg = Contract(("II",), 100.0), Rows(Contract(("II",), 100.0)), sample.load()
    for number in range(1024):
        x = np.roll(ecg.x[number % len(ecg.x), :1], number, axis=1)
        rows.add(Recording(f"{number}", x, 100.0, ("II",), np.isfinite(x), fold="1"))
    batch = rows.batch()
    with StoreWriter(path, contract) as writer:
        for _ in range(RECORDINGS // len(batch)):
            writer.append(batch)
    return Store.open(path)


def _gathering(store: Store, batches: Batches, repeat: int) -> Iterator[Figure]:
    """Batches of random recordings; with and without the system reading ahead."""
    group = f"gathering batches of {BATCH} windows"
    for name, advice in (("reading ahead", MADV_NORMAL), ("no reading ahead", MADV_RANDOM)):
        store.advise(advice)
        before, taken = _read_from_disk(), []
        for step in range(repeat):
            evict(store)
            taken.append(_timed(lambda step=step: batches.at(step)))  # type: ignore[misc]
        read = (_read_from_disk() - before) / repeat / BATCH
        seconds = statistics.median(taken)
        yield Figure(group, f"cold, {name}", BATCH / seconds, "windows/s")
        yield Figure(group, f"cold, {name}: read from the disk", read / 1000, "kB per window")
    store.advise(MADV_NORMAL)
    for step in range(repeat):
        batches.at(step)
    taken = [_timed(lambda step=step: batches.at(step)) for step in range(repeat)]  # type: ignore[misc]
    yield Figure(group, "warm", BATCH / statistics.median(taken), "windows/s")


def _training(store: Store, batches: Batches, machine: Machine, repeat: int) -> Iterator[Figure]:
    """Whole steps of NERULA, cold and warm in turn, so that both meet the same machine."""
    method = build("nerula")
    optimiser = torch.optim.AdamW(method.parameters(), 1e-4)

    def step(number: int) -> None:
        x, valid, subject, _ = batches.at(number)
        batch = Batch(x, valid, subject, torch.Generator().manual_seed(number))
        with torch.autocast("cpu", torch.bfloat16, enabled=machine.bf16):
            loss = method(batch, 0.1)["loss"]
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()

    store.advise(MADV_RANDOM)  # as `FromStore` maps what is larger than half of the memory
    step(0)
    cold, warm = [], []
    for number in range(repeat):
        evict(store)
        cold.append(_timed(lambda number=number: step(number)))  # type: ignore[misc]
        warm.append(_timed(lambda number=number: step(number)))  # type: ignore[misc]
    group = "training NERULA, one thread"
    for name, taken in (("cold", cold), ("warm", warm)):
        yield Figure(group, name, BATCH / statistics.median(taken), "windows/s", "whole steps")
    ratio = statistics.median(w / c for c, w in zip(cold, warm, strict=True))
    yield Figure(group, "cold / warm", 100 * ratio, "%", "aim: at least 95")


def evict(store: Store) -> None:
    """Drop every page of the store from this process, then from the system's cache."""
    store.advise(MADV_DONTNEED)
    for name in (SIGNALS, VALIDITY):
        with (store.path / name).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _read_from_disk() -> int:
    """Bytes that this process has made the system read."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/self/io").read_text(encoding="utf-8").split()
        return int(lines[lines.index("read_bytes:") + 1])
    return 0
