"""Ten seconds of ECG on one core: the exported file in onnxruntime, and the model in PyTorch."""

import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

import nerula
from benchmarks import Figure, Setting
from benchmarks.timing import product_ceiling
from nerula import sample
from nerula.model import Model
from nerula.onnx.build import build
from nerula.onnx.measure import measure as measured
from nerula.onnx.measure import multiply_adds
from nerula.onnx.quantise import WAYS, quantised

SAMPLES = 1000
"""Ten seconds at the model's 100 Hz."""


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure nerula-small as a file, as a file in eight bits, and in PyTorch."""
    torch.set_num_threads(1)
    runs = 100 if setting.quick else 300
    model = nerula.load("nerula-small")
    x = sample.load().x[0, 0, :SAMPLES]
    group = "10 s of ECG on one core, nerula-small"
    theirs = _milliseconds(model, x, runs)
    yield Figure(group, "PyTorch, float32", theirs, "ms", "median of wall time")
    file = build(model, len(model.embed(x, 100)))
    for name, content in (
        ("float32", file.SerializeToString()),
        ("eight bits", quantised(file, WAYS[0]).SerializeToString()),
    ):
        path = setting.scratch / f"{name}.onnx"
        path.write_bytes(content)
        found = measured(path, 1, SAMPLES, runs)
        median = found["median"]
        yield Figure(group, f"onnxruntime, {name}", median, "ms", "median; aim: under 5")
        yield Figure(group, f"onnxruntime, {name}, 99th percentile", found["p99"], "ms")
        yield Figure(group, f"PyTorch / onnxruntime, {name}", theirs / median, "x")
        yield Figure(group, f"size of the file, {name}", len(content) / 1e6, "MB", _aim(name))
        if name == "float32":
            ceiling = product_ceiling(torch.device("cpu"))
            share = 2 * multiply_adds(model, 1, SAMPLES) / (median / 1e3) / ceiling
            yield Figure(group, "onnxruntime, float32: share of bare matrix products",
                         100 * share, "%")  # fmt: skip


def _aim(name: str) -> str:
    return "aim: at most 4" if name == "float32" else "aim: at most 1.2"


def _milliseconds(model: Model, x: NDArray[np.float32], runs: int) -> float:
    """The median of embedding one signal, preparation included as it is inside the file."""
    taken = []
    for _ in range(runs + runs // 10):
        begin = time.perf_counter()
        model.embed(x, 100)
        taken.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(taken[-runs:])
