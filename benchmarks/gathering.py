"""Batches of random recordings from a store, as training asks for them.

Beside one recording after the other, and beside how fast a file in the page cache can be copied.
"""

import contextlib
import io
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import Figure, Setting
from benchmarks.timing import best, copying_ceiling
from nerula import sample
from nerula.prepare import Options, make_store
from nerula.store import Store

BATCH = 256


def measure(setting: Setting) -> Iterator[Figure]:
    """Gather windows of 10 s from a store of the bundled sample, repeated."""
    path = setting.scratch / "store"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        make_store(sample.load(), path, Options())
    store = Store.open(path)
    ceiling = copying_ceiling(setting.scratch)
    yield Figure("reading a store", "copying what the page cache holds", ceiling / 1e9, "GB/s",
                 "the ceiling")  # fmt: skip
    chance = np.random.default_rng(0)
    for name, length, latest in (
        ("whole recordings of 10 s", 1000, 0), ("random windows of 5 s", 500, 500)
    ):  # fmt: skip
        fastest = float("inf")
        for _ in range(3 if setting.quick else 10):
            begin = time.perf_counter()
            for _ in range(40):
                index = chance.integers(0, len(store), BATCH)
                start = chance.integers(0, latest + 1, BATCH)
                store.windows(index, start, length)
            fastest = min(fastest, time.perf_counter() - begin)
        note = f"batches of {BATCH}, float32 and validity"
        yield Figure("reading a store", name, 40 * BATCH / fastest, "recordings/s", note)
        moved = length * (2 + 1 / 8 + 4 + 1) * 40 * BATCH / fastest
        note = "read: int16 and bits; written: float32 and bool"
        yield Figure("reading a store", f"{name}: share of that", 100 * moved / ceiling, "%", note)
    seconds = best(lambda: [store.read(i) for i in range(BATCH)])
    yield Figure(
        "reading a store", "whole recordings, one by one", BATCH / seconds, "recordings/s"
    )
