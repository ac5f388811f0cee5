"""Training and embedding with NERULA: rates, what the loop costs besides, the arithmetic limit.

Every rate stands beside the ceiling that bare matrix products reach in the same run, on the same
threads and in the same precision.
"""

import contextlib
import io
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import Figure, Setting
from benchmarks.timing import best, product_ceiling
from nerula import sample
from nerula.batches import Batches
from nerula.contract import Contract
from nerula.machine import Machine
from nerula.method import Batch
from nerula.methods import build
from nerula.model import Model
from nerula.options import Options
from nerula.prepare import Options as Preparation
from nerula.prepare import make_store
from nerula.store import Store
from nerula.train import train
from nerula.workers import available

BATCH = 128
HOURS = 24


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure one core, all cores, and an accelerator where there is one."""
    path = setting.scratch / "store"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        make_store(sample.load(), path, Preparation())
    store = Store.open(path)
    for threads in sorted({1, available()}):
        for precision in ("fp32", "bf16"):
            yield from _training(store, Machine("cpu", precision, threads), setting)
            yield from _embedding(Machine("cpu", precision, threads), setting)
    yield from _loop(store, setting)
    if torch.cuda.is_available():
        yield from _training(store, Machine("cuda", "bf16", 1), setting)
        yield from _epochs(store)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    yield Figure("memory", "largest resident size of all of this", peak, "MB")


def _training(store: Store, machine: Machine, setting: Setting) -> Iterator[Figure]:
    """Forward and backward of both views, against the ceiling."""
    device = machine.enter()
    method = build("nerula").to(device)
    x, valid, subject, _ = _batches(store, device).at(0)
    batch = Batch(x, valid, subject, torch.Generator(device).manual_seed(0))

    def step() -> None:
        method.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=machine.bf16):
            loss = method(batch, 0.1)["loss"]
        loss.backward()

    with FlopCounterMode(display=False) as counted:
        step()
    seconds = best(step, device, 2 if setting.quick else 5)
    ceiling = product_ceiling(device, bf16=machine.bf16)
    share = counted.get_total_flops() / seconds / ceiling
    group = f"training NERULA on {_place(machine)}, {machine.precision}"
    yield Figure(group, "forward and backward, both views", BATCH / seconds, "recordings/s",
                 f"batches of {BATCH} windows of 10.24 s")  # fmt: skip
    yield Figure(group, "bare matrix products", ceiling / 1e9, "GFLOP/s", "the ceiling")
    yield Figure(group, "share of the ceiling", 100 * share, "%",
                 f"{counted.get_total_flops() / BATCH / 1e9:.2f} GFLOP per recording")  # fmt: skip


def _loop(store: Store, setting: Setting) -> Iterator[Figure]:
    """What a whole step of `train` costs, and how much of it is neither forward nor backward."""
    machine = Machine.chosen(Options())
    device = machine.enter()
    torch.manual_seed(0)
    method, batches = build("nerula").to(device), _batches(store, device)
    batches.steps = 3 if setting.quick else 8
    gathering = best(lambda: batches.at(0), device)
    begin = time.perf_counter()
    train(method, batches, Options(batch=BATCH), setting.scratch / "none", bf16=machine.bf16)
    seconds = (time.perf_counter() - begin) / batches.steps
    group = f"the loop on {_place(machine)}, {machine.precision}"
    yield Figure(group, "whole steps", BATCH / seconds, "recordings/s")
    yield Figure(group, "of which gathering the data", 100 * gathering / seconds, "%",
                 "aim: under 3")  # fmt: skip


def _embedding(machine: Machine, setting: Setting) -> Iterator[Figure]:
    """Windows per second, and a day of one lead from the array to its embeddings."""
    machine.enter()
    model = Model(build("nerula"), Contract(("II",), 100.0), 1024, bf16=machine.bf16)
    hours = 2 if setting.quick else HOURS
    ecg = sample.load().x[:, 0].reshape(-1)
    x = np.resize(ecg, hours * 3600 * 100)
    begin = time.perf_counter()
    windows, _ = model.embed_windows(x, 100)
    seconds = time.perf_counter() - begin
    group = f"embedding with NERULA on {_place(machine)}, {machine.precision}"
    yield Figure(group, "windows of 10.24 s", len(windows) / seconds, "windows/s")
    note = f"measured on {hours} h; aim: under 15 s on two cores"
    yield Figure(group, "24 hours of one lead at 100 Hz", seconds * HOURS / hours, "s", note)
    one = ecg[:1000]
    yield Figure(group, "one recording of 10 s", 1e3 * best(lambda: model.embed(one, 100)), "ms")


def _epochs(store: Store) -> Iterator[Figure]:
    """On an accelerator: what a hundred epochs of PTB-XL's folds 1 to 8 take, whole steps."""
    machine = Machine("cuda", "bf16", 1)
    device = machine.enter()
    method, batches = build("nerula").to(device), _batches(store, device)
    batches.steps = 60
    times: list[float] = []
    train(method, batches, Options(batch=BATCH), Path("none"), bf16=True,
          show=lambda rows: times.append(rows[-1]["recordings_per_second"]))  # fmt: skip
    seconds = 100 * 17_418 / times[-1]
    group = "the loop on an accelerator, bf16"
    yield Figure(group, "whole steps", times[-1], "recordings/s")
    yield Figure(group, "100 epochs of 17,418 recordings", seconds / 60, "minutes", "aim: 10")


def _batches(store: Store, device: torch.device) -> Batches:
    return Batches(store, build("nerula").needs, Options(batch=BATCH), device)


def _place(machine: Machine) -> str:
    if machine.device != "cpu":
        return "an accelerator"
    return "one core" if machine.threads == 1 else f"{machine.threads} cores"
