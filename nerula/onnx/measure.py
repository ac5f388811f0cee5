"""Measure a file in a process of its own, as a device would run it.

`python -m nerula.onnx.measure` prints JSON: milliseconds of one window on one core, and the bytes
that opening and running it adds to a process that has NumPy and onnxruntime already.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerula.errors import NerulaError
from nerula.onnx.running import session

if TYPE_CHECKING:
    from nerula.model import Model

RUNS = 300


def measure(path: Path, leads: int, samples: int, runs: int = RUNS) -> dict[str, float]:
    """Measure in a child process."""
    words = [sys.executable, "-m", __name__, str(path), str(leads), str(samples), str(runs)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NerulaError(f"{path} could not be measured: {done.stderr.strip()[-300:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def multiply_adds(model: "Model", leads: int, samples: int) -> int:
    """Of the embedding of one input; elementwise operations are not counted."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    x = torch.zeros(1, leads, samples)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.method.embed(x, torch.ones_like(x, dtype=torch.bool))
    return int(counter.get_total_flops()) // 2


def _measured(path: Path, leads: int, samples: int, runs: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    signal = rng.normal(0, 0.2, (1, leads, samples)).astype(np.float32)
    before = _memory()[0]
    opened = session(path.read_bytes())
    wall, processor = [], []
    for _ in range(runs + runs // 10):
        begin, begun = time.perf_counter(), time.process_time()
        opened.run(None, {"signal": signal})
        wall.append(time.perf_counter() - begin)
        processor.append(time.process_time() - begun)
    wall, processor = wall[-runs:], processor[-runs:]
    return {
        "median": 1e3 * float(np.median(wall)),
        "p99": 1e3 * float(np.percentile(wall, 99)),
        "processor": 1e3 * float(np.median(processor)),
        "memory": float(_memory()[1] - before),
    }


def _memory() -> tuple[int, int]:
    """Bytes that this process holds, and the most that it held."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines if ":" in line)
        held, most = (int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM"))
    except (OSError, KeyError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1 << 10
        held = most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return held, most


if __name__ == "__main__":
    numbers = _measured(Path(sys.argv[1]), *map(int, sys.argv[2:]))
    sys.stdout.write(json.dumps(numbers))
