"""Batches of random recordings from a store, as training asks for them."""

import contextlib
import io
import time
from collections.abc import Iterator

import numpy as np

from benchmarks import Figure, Setting
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
    chance = np.random.default_rng(0)
    for name, length, latest in (
        ("whole recordings of 10 s", 1000, 0), ("random windows of 5 s", 500, 500)
    ):  # fmt: skip
        best = float("inf")
        for _ in range(3 if setting.quick else 10):
            begin = time.perf_counter()
            for _ in range(40):
                index = chance.integers(0, len(store), BATCH)
                start = chance.integers(0, latest + 1, BATCH)
                store.windows(index, start, length)
            best = min(best, time.perf_counter() - begin)
        note = f"batches of {BATCH}, float32 and validity"
        yield Figure("reading a store", name, 40 * BATCH / best, "recordings/s", note)
