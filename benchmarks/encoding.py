"""The encoder: attention against its alternative, share of the arithmetic limit, growth.

Every rate stands beside the ceiling that one large matrix product reaches in the same run, on the
same threads and in the same precision. The operations counted are those of all products that
tokens need; what the layout adds (padding of blocks, keys beyond the window) does not count.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import Figure, Setting
from benchmarks.timing import best, product_ceiling
from nerula.augment import patch_masks
from nerula.encoders.attention import window_attention, window_bias
from nerula.encoders.local import LocalEncoder
from nerula.workers import available, keep_memory

BATCH, LENGTH, REACH, HEADS, WIDTH = 32, 1024, 9, 4, 128
SHORT, LONG = 4096, 16_384


def measure(setting: Setting) -> Iterator[Figure]:
    """Measure masks, attention, the encoder, and what four times the length costs."""
    keep_memory()
    repeat = 2 if setting.quick else 7
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    seconds = best(lambda: patch_masks(1000, 1000, generator), repeat=20)
    yield Figure("masks", "1,000 masks of 1,000 samples, one core", 1e3 * seconds, "ms",
                 "aim: under 5")  # fmt: skip
    yield from _attention(repeat, setting.quick)
    yield from _instead_of_dense(repeat, setting.quick)
    for threads in sorted({1, available()}):
        torch.set_num_threads(threads)
        for kind in (torch.float32, torch.bfloat16):
            yield from _encoder(kind, threads, repeat)
    torch.set_num_threads(1)
    yield from _growth(repeat)


def _attention(repeat: int, quick: bool) -> Iterator[Figure]:
    """Forward and backward of one layer's core on one core, windowed and dense."""
    group = f"attention, forward and backward, batch {BATCH}, one core, fp32"
    for tokens in (256, 1024) if quick else (256, 1024, 2048):
        qkv = torch.randn(BATCH, tokens, 3 * WIDTH, requires_grad=True)
        label = torch.ones(BATCH, tokens, dtype=torch.uint8)
        out = torch.randn(BATCH, tokens, WIDTH)

        def windowed(qkv: Tensor = qkv, label: Tensor = label, out: Tensor = out) -> None:
            bias = window_bias(label, REACH, qkv.dtype)
            torch.autograd.grad(window_attention(qkv, bias, HEADS), qkv, out)

        def dense(qkv: Tensor = qkv, out: Tensor = out) -> None:
            parts = qkv.unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            mixed = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
            torch.autograd.grad(mixed, qkv, out)

        ours, theirs = best(windowed, repeat=repeat), best(dense, repeat=repeat)
        yield Figure(group, f"{tokens:,} tokens, windows of +-{REACH}", 1e3 * ours, "ms")
        yield Figure(group, f"{tokens:,} tokens, dense", 1e3 * theirs, "ms",
                     f"{theirs / ours:.1f} times as long")  # fmt: skip


def _instead_of_dense(repeat: int, quick: bool) -> Iterator[Figure]:
    """The whole encoder, forward and backward, against itself with dense attention."""
    group = "encoder with windows against dense attention, batch 4, one core, fp32"
    for tokens in (1024,) if quick else (1024, 2048, 4096):
        ours, theirs = LocalEncoder(), LocalEncoder(blocks=((0, 1),) * 4)
        length = tokens * ours.stride
        x = torch.randn(4, 1, length)
        visible = torch.ones_like(x, dtype=torch.bool)

        def train(encoder: LocalEncoder, x: Tensor = x, visible: Tensor = visible) -> None:
            encoder.zero_grad()
            encoder(x, visible).values.square().mean().backward()

        seconds = [best(lambda one=one: train(one), repeat=repeat) for one in (ours, theirs)]  # type: ignore[misc]
        promised = operations(theirs, length) / operations(ours, length)
        yield Figure(group, f"{tokens:,} tokens: dense / windows", seconds[1] / seconds[0],
                     "times", f"the arithmetic promises {promised:.1f}")  # fmt: skip


def _encoder(kind: torch.dtype, threads: int, repeat: int) -> Iterator[Figure]:
    """Both complementary views in one pass, forward and backward, and one view forward."""
    encoder = LocalEncoder()
    x = torch.randn(BATCH, 1, LENGTH)
    mask = patch_masks(BATCH, LENGTH, torch.Generator().manual_seed(0)).unsqueeze(1)
    views = x.repeat(2, 1, 1), torch.cat([mask, ~mask])
    everything = torch.ones_like(x, dtype=torch.bool)

    def train(encode: Callable[[Tensor, Tensor], object] = encoder.pair) -> None:
        encoder.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind is torch.bfloat16):
            tokens = encode(*views)
        tokens.values.float().square().mean().backward()

    def embed() -> None:
        with (
            torch.no_grad(),
            torch.autocast("cpu", torch.bfloat16, enabled=kind is torch.bfloat16),
        ):
            encoder(x, everything)

    shared, apart = best(train, repeat=repeat), best(lambda: train(encoder), repeat=repeat)
    forward = best(embed, repeat=repeat)
    ceiling = product_ceiling(torch.device("cpu"), bf16=kind is torch.bfloat16)
    work = operations(encoder, LENGTH) * BATCH
    cores = "one core" if threads == 1 else f"{threads} cores"
    group = f"encoder on {cores}, {str(kind).removeprefix('torch.')}"
    yield Figure(group, "forward and backward, two views in one pass", BATCH / shared,
                 "recordings/s")  # fmt: skip
    yield Figure(group, "the same in two passes", BATCH / apart, "recordings/s")
    yield Figure(group, "forward, one view", BATCH / forward, "windows/s")
    yield Figure(group, "bare matrix product", ceiling / 1e9, "GFLOP/s", "the ceiling")
    for name, rate in (
        ("forward and backward, two passes", 2 * 3 * work / apart),
        ("forward", work / forward),
    ):
        yield Figure(group, f"share of the ceiling, {name}", 100 * rate / ceiling, "%")


def operations(encoder: LocalEncoder, length: int) -> float:
    """Floating-point operations of one view's forward pass that tokens need, per recording."""
    total, time = 0.0, length
    for module in encoder.stem:
        kernel = module.mix.weight
        time //= module.stride
        total += time * kernel.numel()
    for module in encoder.blocks:
        time //= module.stride
        linear = sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)
        keys = 2 * module.reach + 1 if module.reach else time
        total += time * (linear + 3 * WIDTH + 2 * WIDTH * keys)
    return 2 * total


def _growth(repeat: int) -> Iterator[Figure]:
    """Time and memory of forward and backward at four times the length, on one core."""
    times, sizes = [], []
    linux = Path("/proc/self/status").exists()
    for length in (SHORT, LONG):
        times.append(best(lambda length=length: _pass(length), repeat=repeat))
        if not linux:
            continue
        command = [sys.executable, "-m", "benchmarks.encoding", str(length)]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        sizes.append(float(found))
    group = f"growth from {SHORT:,} to {LONG:,} samples, forward and backward"
    yield Figure(group, "time", times[1] / times[0], "times", "linear: 4; aim: at most 4.4")
    if linux:
        yield Figure(group, "memory", sizes[1] / sizes[0], "times",
                 f"{sizes[0]:.0f} to {sizes[1]:.0f} MB")  # fmt: skip


def _pass(length: int, batch: int = 8) -> None:
    torch.manual_seed(0)
    x = torch.randn(batch, 1, length)
    LocalEncoder()(x, torch.ones_like(x, dtype=torch.bool)).values.square().mean().backward()


def main() -> None:
    """Print how many MB one forward and backward at a length takes: a process by itself."""
    torch.set_num_threads(1)
    _pass(256, 1)
    before = _peak()
    _pass(int(sys.argv[1]))
    print(_peak() - before)


def _peak() -> float:
    """The largest resident size of this process so far, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
