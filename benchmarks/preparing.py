"""From files to a store, against the tools that people use: wfdb to read, scipy to filter.

Both sides read the same files, band-pass 0.5-40 Hz and resample to 100 Hz. Ours verifies the
checksums besides, marks what is no ECG and writes the store.
"""

import gc
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import wfdb
from numpy.typing import NDArray
from scipy.signal import butter, firwin, resample_poly, sosfiltfilt

from benchmarks import Figure, Setting
from benchmarks.files import write_sample, write_twelve
from nerula import quality, workers
from nerula.chunks import Preparation, first_readable
from nerula.conform import conform
from nerula.contract import Contract
from nerula.engines import Local
from nerula.prepare import Options, make_store
from nerula.readers import open_source
from nerula.readers.source import Entry, Selective, Source

BAND, RATE = (0.5, 40.0), 100.0


@dataclass(frozen=True, slots=True)
class Files:
    """One set of files to measure on."""

    name: str
    folder: Path
    leads: tuple[str, ...] | None
    """Leads to prepare; None for all."""


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure every set of files."""
    workers.keep_memory()
    for files in _sets(setting):
        yield from _compare(files, setting)


def _sets(setting: Setting) -> Iterator[Files]:
    if setting.data:
        yield Files("PTB-XL, 12 leads, 100 Hz", setting.data / "ptbxl", None)
        yield Files("PTB-XL, lead II of 12, 100 Hz", setting.data / "ptbxl", ("II",))
        yield Files("Challenge 2017, 1 lead, 300 Hz", setting.data / "cinc2017", None)
    one, twelve = setting.scratch / "one", setting.scratch / "twelve"
    write_sample(one, 1200 if setting.quick else 4800, 500)
    write_twelve(twelve, 600 if setting.quick else 2400, 500)
    yield Files("12 leads, 500 Hz, 10 s", twelve, None)
    yield Files("lead II of 12, 500 Hz, 10 s", twelve, ("II",))
    yield Files("1 lead, 500 Hz, 10 s", one, None)


def _compare(files: Files, setting: Setting) -> Iterator[Figure]:
    source = open_source(files.folder)
    entries = list(source.entries())
    few = _spread(entries, 60 if setting.quick else 300)
    many = _spread(entries, 300 if setting.quick else 1200)
    gc.collect()
    gc.freeze()  # or one look through all that is loaded here would count as somebody's work
    contract = Contract(files.leads or first_readable(source).leads, RATE, band=BAND)
    reader = source.narrowed(contract.leads) if isinstance(source, Selective) else source
    figure = partial(Figure, files.name)
    theirs = _rate(partial(_wfdb_scipy, files.leads), few, setting)
    yield figure("wfdb + scipy: read, band-pass, resample", theirs, "recordings/s per core")
    yield figure("ours: read", _rate(reader.read, many, setting), "recordings/s per core")
    held = [reader.read(entry) for entry in many[:100]]
    yield figure("ours: mark", _rate(quality.mark, held, setting), "recordings/s per core")
    shape = partial(conform, contract=contract)
    yield figure(
        "ours: mark, band-pass, resample", _rate(shape, held, setting), "recordings/s per core"
    )
    preparation = Preparation(source, contract, setting.scratch)
    ours = len(many) * _rate(lambda _: list(preparation.results(many)), [None], setting)
    yield figure("ours: read, mark, band-pass, resample", ours, "recordings/s per core")
    yield figure("ours / theirs", ours / theirs, "x")
    yield from _whole(files, source, entries, setting, theirs)


def _whole(
    files: Files, source: Source, entries: list[Entry], setting: Setting, theirs: float
) -> Iterator[Figure]:
    """`nerula prepare` from start to end, process start and summary included; the best of some.

    Beside its scaling stands the machine's own: two processes that share no file and no word, each
    preparing what one did. Two hyperthreads of one core do not do the work of two.
    """
    count = min(len(entries), 1200) if setting.quick else len(entries)
    for entry in entries[:count]:
        source.read(entry)  # so that every run finds the files in memory
    one = two = apart = float("inf")
    for _ in range(1 if setting.quick else 3):
        one = min(one, _prepared(files, count, 1, setting.scratch))
        two = min(two, _prepared(files, count, 2, setting.scratch))
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            running = [pool.submit(_at_once, files, count, setting.scratch, me) for me in (0, 1)]
            apart = min(apart, max(each.result() for each in running))
        for mark in setting.scratch.glob("ready-*"):
            mark.unlink()
    figure = partial(Figure, files.name)
    note = f"{count:,} recordings, wall time"
    yield figure("nerula prepare, 1 job", count / one, "recordings/s", note)
    yield figure("nerula prepare, 2 jobs", count / two, "recordings/s", note)
    yield figure("scaling from 1 to 2 jobs", one / two / 2, "of ideal")
    yield figure("two prepares that share nothing", one / apart, "of ideal", "the machine's own")
    yield figure("nerula prepare, 1 job / theirs", count / one / theirs, "x")


def _prepared(files: Files, count: int, jobs: int, scratch: Path) -> float:
    """Seconds that preparing the first `count` recordings takes."""
    source, store = open_source(files.folder), scratch / f"store-{os.getpid()}"
    options = Options(leads=files.leads, band=BAND, limit=count)
    begin = time.perf_counter()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        make_store(source, store, options, Local(jobs))
    took = time.perf_counter() - begin
    shutil.rmtree(store)
    return took


def _at_once(files: Files, count: int, scratch: Path, me: int) -> float:
    """The same in one of two processes, begun when the other one is ready too."""
    workers.keep_memory()
    (scratch / f"ready-{me}").touch()
    while not (scratch / f"ready-{1 - me}").exists():
        time.sleep(0.001)
    return _prepared(files, count, 1, scratch)


def _spread(entries: list[Entry], count: int) -> list[Entry]:
    return entries[:: max(len(entries) // count, 1)][:count]


def _wfdb_scipy(leads: tuple[str, ...] | None, entry: Entry) -> object:
    """What one would write: the leads that are wanted, in double precision, one recording.

    Filters are designed once for each rate, as by anyone with more than a few files.
    """
    names = list(leads) if leads else None
    record = wfdb.rdrecord(str(entry.path.with_suffix("")), channel_names=names)
    x = sosfiltfilt(_band_pass(record.fs), record.p_signal, axis=0)
    if record.fs == RATE:
        return x
    return resample_poly(x, int(RATE), int(record.fs), axis=0, window=_antialias(record.fs))


@lru_cache
def _band_pass(rate: float) -> NDArray[np.float64]:
    sections: NDArray[np.float64] = butter(2, BAND, "bandpass", fs=rate, output="sos")
    return sections


@lru_cache
def _antialias(rate: float) -> NDArray[np.float64]:
    """Return what `resample_poly` would otherwise design for every signal."""
    slower = max(Fraction(int(RATE), int(rate)).as_integer_ratio())
    taps: NDArray[np.float64] = firwin(20 * slower + 1, 1 / slower, window=("kaiser", 5.0))
    return taps


def _rate(work: Callable[..., object], items: list, setting: Setting) -> float:  # type: ignore[type-arg]
    """Items per second of processor time: the best of some passes, the first one not counted.

    Processor time, so that whatever else the machine does disturbs as little as possible.
    """
    best = float("inf")
    for passing in range(2 if setting.quick else 4):
        begin = time.process_time()
        for item in items:
            work(item)
        if passing:
            best = min(best, time.process_time() - begin)
    return len(items) / best
