"""wav2vec 2.0 + CMSC + random lead masking at its published size: processor time per signal.

The released code took 1.10 to 1.16 s of one core of a Xeon with AMX for each signal of 12 leads
and 5 s at 500 Hz, forward and backward; the aim is a third of that for the same network.
"""

import time
from collections.abc import Iterator

import torch

from benchmarks import Figure, Setting
from nerula.machine import Machine
from nerula.method import Batch
from nerula.methods import build

LEADS, SAMPLES = 12, 2500
RELEASED = 1.13
"""Seconds per signal of the released code."""
BATCH = 16
"""Recordings of two segments."""


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure training steps on one core, in both precisions."""
    for precision in ("fp32", "bf16"):
        machine = Machine("cpu", precision, 1)
        machine.enter()
        seconds = _seconds(machine, 1 if setting.quick else 3)
        group = f"training wav2vec 2.0 + CMSC + RLM as published, one core, {precision}"
        yield Figure(group, "processor time per signal of 12 leads and 5 s", seconds, "s",
                     f"batches of {2 * BATCH}; the released code: 1.10 to 1.16")  # fmt: skip
        yield Figure(group, "less than the released code", RELEASED / seconds, "times",
                     "aim: at least 3")  # fmt: skip


def _seconds(machine: Machine, repeat: int) -> float:
    """Processor time of the fastest step, forward and backward, per segment."""
    torch.manual_seed(0)
    method = build("w2v_cmsc_rlm", preset="paper")
    x = 0.2 * torch.randn(BATCH, 2, LEADS, SAMPLES)
    valid = torch.ones_like(x, dtype=torch.bool)
    times = []
    for turn in range(repeat + 1):
        batch = Batch(x, valid, torch.arange(BATCH), torch.Generator().manual_seed(turn))
        method.zero_grad()
        begin = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=machine.bf16):
            loss = method(batch, 0.1)["loss"]
        loss.backward()
        times.append(time.process_time() - begin)
    return min(times[1:]) / (2 * BATCH)
