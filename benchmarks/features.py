"""Embedding against hand-made features: recordings of 10 s per second on one core.

NeuroKit's pipeline as its tutorial has it: clean, find R peaks, delineate the waves, statistics of
the rhythm. Both sides get the same real ECGs.
"""

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator

import neurokit2
import numpy as np
import torch
from numpy.typing import NDArray

import nerula
from benchmarks import Figure, Setting
from nerula import sample
from nerula.contract import Contract
from nerula.methods import build
from nerula.model import Model

RATE = 100


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure NeuroKit, our own hand-made features, and nerula-small."""
    torch.set_num_threads(1)
    ecg = sample.load().x[:, 0]
    group = "features of 10 s of one lead at 100 Hz, one core"
    few, many = ecg[: 20 if setting.quick else 60], ecg[:256]
    theirs, failed = _neurokit(few)
    yield Figure(group, "NeuroKit: clean, peaks, waves, rhythm", theirs, "recordings/s",
                 f"{failed} of {len(few)} real recordings raised an error")  # fmt: skip
    by_hand = Model(build("heart_rate"), Contract(("II",), 100.0), ecg.shape[1])
    for name, model in (
        ("heart_rate: 20 statistics", by_hand),
        ("nerula-small: embedding, float32", nerula.load("nerula-small")),
    ):
        rate = _rate(lambda model=model: model.embed(many, RATE), len(many))  # type: ignore[misc]
        yield Figure(group, name, rate, "recordings/s")
        yield Figure(group, f"{name.split(':')[0]} / NeuroKit", rate / theirs, "x")


def _neurokit(ecg: NDArray[np.float32]) -> tuple[float, int]:
    """Recordings per second, and how many of them it could not do."""
    failed = 0
    begin = time.perf_counter()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for x in ecg:
            try:
                signals, _ = neurokit2.ecg_process(x, sampling_rate=RATE)
                neurokit2.ecg_intervalrelated(signals, sampling_rate=RATE)
            except Exception:  # whatever it is, this recording has no features
                failed += 1
    return len(ecg) / (time.perf_counter() - begin), failed


def _rate(run: Callable[[], object], count: int) -> float:
    run()
    begin = time.perf_counter()
    run()
    return count / (time.perf_counter() - begin)
