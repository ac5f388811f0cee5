"""Layers as ONNX has them. Everything is (batch, time, width), as in `nerula.encoders`."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nerula.encoders.attention import NEVER, block_length
from nerula.encoders.local import Convolution
from nerula.encoders.pool import directions
from nerula.onnx.graph import Graph, Value

LOWEST = float(np.finfo(np.float32).min)
"""Stands for minus infinity where a maximum is sought."""


class Signal(NamedTuple):
    """An encoder's input (B, leads, time), and where it is measured, as ones and zeros."""

    x: Value
    """0 where nothing was measured."""
    seen: Value


class Tokens(NamedTuple):
    """What an encoder gives: (B, T', width), and which of them count (B, T', 1)."""

    values: Value
    seen: Value


def measured(g: Graph, signal: Value) -> Signal:
    """Tell what is finite from what is not; NaN is how a device says that it has no sample."""
    finite = g.op("LessOrEqual", g.op("Abs", signal), g.constant(-LOWEST))  # false for NaN
    x = g.op("Where", finite, signal, g.constant(0.0))
    return Signal(x, g.op("Cast", finite, to=1))


def scaled(g: Graph, signal: Signal, kind: str, unit: float) -> Signal:
    """`nerula.encoders.scale`, hidden samples zero afterwards."""
    if kind == "none":
        return signal
    count = g.op("Max", g.sum(signal.seen, 2), g.constant(1.0))
    mean = g.op("Div", g.sum(signal.x, 2), count)
    centred = g.op("Mul", g.op("Sub", signal.x, mean), signal.seen)
    if kind == "scale":
        return Signal(g.op("Div", centred, g.constant(unit)), signal.seen)
    power = g.op("Div", g.sum(g.op("Mul", centred, centred), 2), count)
    size = g.op("Max", g.op("Sqrt", power), g.constant(1e-3))
    amplitude = g.op("Log", g.op("Div", size, g.constant(unit)))
    both = g.op("Concat", g.op("Div", centred, size), g.op("Mul", amplitude, signal.seen), axis=1)
    return Signal(both, g.op("Concat", signal.seen, signal.seen, axis=1))


def filled_up(g: Graph, x: Value, grid: int) -> Value:
    """Zeros behind (B, leads, time), so that time is a multiple of `grid`."""
    time = g.op("Shape", x, start=2, end=3)
    rest = g.op("Mod", g.op("Neg", time), g.whole(grid))
    pads = g.op("Concat", g.whole(0, 0, 0, 0, 0), rest, axis=0)
    padded: Value = g.op("Pad", x, pads, g.constant(0.0))
    return padded


def linear(g: Graph, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    """A layer of weights (outputs, inputs)."""
    y: Value = g.op("MatMul", x, g.constant(weight.detach().float().T))
    return y if bias is None else g.op("Add", y, g.constant(bias))


def convolution(g: Graph, x: Value, layer: Convolution) -> Value:
    """A convolution as a matrix product, which needs no other layout; time is a multiple of its
    stride. Single channels: shifted, weighted, added up.
    """
    weight = layer.weight.detach().float().squeeze(2)  # (outputs, inputs of a group, kernel)
    outputs, inputs, kernel = weight.shape
    stride, reach = layer.stride, layer.reach
    if layer.groups > 1:
        padded = g.pad(x, 3, 1, (reach, kernel - 1 - reach))
        taps = []
        for place in range(kernel):
            end = place - kernel + 1 or None
            shifted = g.part(padded, 1, place, end, stride)
            taps.append(g.op("Mul", shifted, g.constant(weight[:, 0, place])))
        total: Value = taps[0]
        for tap in taps[1:]:
            total = g.op("Add", total, tap)
        return total
    count = -(-kernel // stride)  # stretches of `stride` samples that the kernel covers
    flat = np.zeros((count * stride, inputs, outputs), np.float32)
    flat[:kernel] = weight.permute(2, 1, 0).cpu().numpy()
    padded = g.pad(x, 3, 1, (reach, stride * (count - 1) - reach))
    stretches = g.shape(padded, 0, -1, stride * inputs)
    side_by_side = [g.part(stretches, 1, i, i - count + 1 or None) for i in range(count)]
    around = g.op("Concat", *side_by_side, axis=2) if count > 1 else stretches
    product: Value = g.op("MatMul", around, g.constant(flat.reshape(-1, outputs)))
    return product


def maximum(g: Graph, x: Value, stride: int) -> Value:
    """The largest of three neighbours at every `stride`th place."""
    padded = g.pad(x, 3, 1, (1, 1), LOWEST)
    largest: Value = g.op(
        "Max", *(g.part(padded, 1, place, place - 2 or None, stride) for place in range(3))
    )
    return largest


def norm(g: Graph, x: Value, layer: nn.Module) -> Value:
    """Normalisation over the width of each place, or by the statistics of a training."""
    if isinstance(layer, nn.BatchNorm1d):
        if layer.running_mean is None or layer.running_var is None:
            raise TypeError("a BatchNorm without statistics")
        slope = (layer.running_var + layer.eps).rsqrt() * layer.weight
        shift = layer.bias - layer.running_mean * slope
        sloped = g.op("Mul", x, g.constant(slope))
        shifted: Value = g.op("Add", sloped, g.constant(shift))
        return shifted
    if not isinstance(layer, nn.LayerNorm):
        raise TypeError(type(layer).__name__)
    constants = [g.constant(one) for one in (layer.weight, layer.bias) if one is not None]
    y: Value = g.op("LayerNormalization", x, *constants, axis=-1, epsilon=layer.eps)
    return y


def gelu(g: Graph, x: Value) -> Value:
    """The exact one, written as runtimes recognise it."""
    scaled = g.op("Div", x, g.constant(math.sqrt(2)))
    half = g.op("Mul", x, g.op("Add", g.op("Erf", scaled), g.constant(1.0)))
    y: Value = g.op("Mul", half, g.constant(0.5))
    return y


# --- attention -----------------------------------------------------------------------------------


def block_of(reach: int) -> int:
    """Queries per block here: keys are the block and half a block on either side."""
    return 32 * max(1, math.ceil(reach / 16))


def window_bias(g: Graph, seen: Value, reach: int) -> Value:
    """What to add to scores, of `seen` (B, T, 1): (B, 1, blocks, block, 2 * block)."""
    block = block_of(reach)
    if not reach:  # everything sees everything
        flat = g.shape(seen, 0, 1, 1, -1)
        bias: Value = g.op("Mul", g.op("Sub", g.constant(1.0), flat), g.constant(NEVER))
        return bias
    never = g.op("Mul", g.op("Sub", g.constant(1.0), seen), g.constant(NEVER))
    keys = g.pad(never, 3, 1, (block // 2, block // 2), NEVER)
    rows = g.shape(keys, 0, -1, block)
    both = g.op("Concat", g.part(rows, 1, 0, -1), g.part(rows, 1, 1), axis=2)
    distance = np.arange(2 * block) - (np.arange(block)[:, None] + block // 2)
    band = np.where(np.abs(distance) <= reach, 0.0, NEVER)
    wide = g.op("Unsqueeze", both, g.whole(1, 3))
    added: Value = g.op("Add", wide, g.constant(band))
    return added


def attention(
    g: Graph, qkv: Value, bias: Value, *, heads: int, size: int, reach: int, rotary: bool
) -> Value:
    """Attend: (B, T, 3 * width) to (B, T, width), queries scaled already."""
    split = g.op("Transpose", g.shape(qkv, 0, 0, 3, heads, size), perm=[2, 0, 3, 1, 4])
    if rotary:
        pairs, values = g.part(split, 0, 0, 2), g.part(split, 0, 2)
        split = g.op("Concat", _turned(g, pairs, heads, size, reach), values, axis=0)
    query, keys = g.part(split, 0, 0, 1), g.part(split, 0, 1)
    query = g.op("Squeeze", query, g.whole(0))
    if reach:
        block = block_of(reach)
        query = g.shape(query, 0, 0, -1, block, size)
        padded = g.pad(keys, 5, 3, (block // 2, block // 2))
        rows = g.shape(padded, 0, 0, 0, -1, block, size)
        keys = g.op("Concat", g.part(rows, 3, 0, -1), g.part(rows, 3, 1), axis=4)
    key, value = (
        g.op("Squeeze", one, g.whole(0))
        for one in g.op("Split", keys, g.whole(1, 1), axis=0, outputs=2)
    )
    last = [0, 1, 2, 4, 3] if reach else [0, 1, 3, 2]
    scores = g.op("MatMul", query, g.op("Transpose", key, perm=last))
    mixed = g.op("MatMul", _softmax(g, g.op("Add", scores, bias)), value)
    if reach:
        mixed = g.shape(mixed, 0, 0, -1, size)
    by_time = g.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return g.shape(by_time, 0, 0, heads * size)


def _softmax(g: Graph, scores: Value) -> Value:
    """A softmax whose smallest weights are 1e-35, which is nothing beside 1: smaller ones are
    denormal numbers, with which processors are ten times slower.
    """
    highest = g.op("ReduceMax", scores, axes=[-1], keepdims=1)
    below = g.op("Max", g.op("Sub", scores, highest), g.constant(-80.0))
    weights: Value = g.op("Softmax", below, axis=-1)
    return weights


def _turned(g: Graph, pairs: Value, heads: int, size: int, reach: int) -> Value:
    """Queries and keys (2, B, heads, T, size), turned by their places."""
    period, half = 2 * block_length(reach), size // 2
    angle = 2 * math.pi * np.outer(np.arange(period), np.arange(1, half + 1) / period)
    cosine, sine = g.constant(np.cos(angle)), g.constant(np.sin(angle))
    rounds = g.shape(pairs, 0, 0, heads, -1, period, size)
    one, two = g.op("Split", rounds, g.whole(half, half), axis=5, outputs=2)
    first = g.op("Sub", g.op("Mul", one, cosine), g.op("Mul", two, sine))
    second = g.op("Add", g.op("Mul", two, cosine), g.op("Mul", one, sine))
    return g.shape(g.op("Concat", first, second, axis=5), 0, 0, 0, -1, size)


# --- pooling -------------------------------------------------------------------------------------


def pooled(g: Graph, values: Value, seen: Value, kind: str, width: int) -> Value:
    """`nerula.encoders.pool.pool` of tokens (B, T', width) and `seen` (B, T', 1)."""
    known = _spread(g, values, seen)
    if kind == "mean":
        return _flat(g, known.mean)
    there = g.op("Greater", seen, g.constant(0.5))
    masked = g.op("Where", there, values, g.constant(LOWEST))
    peak = g.op("ReduceMax", masked, axes=[1], keepdims=1)
    parts = [
        known.mean,
        known.deviation,
        g.op("Where", known.anything, peak, g.constant(0.0)),
    ]
    if kind == "moments":
        parts.append(g.op("Div", _products(g, known.apart, width), known.total))
    return _flat(g, g.op("Concat", *parts, axis=2))


def pooled_layers(g: Graph, layers: Sequence[tuple[Value, Value]], width: int, kind: str) -> Value:
    """`nerula.encoders.pool.pool_layers` of values and `seen` of each layer."""
    *before, last = layers
    parts = [pooled(g, *last, "moments", width)]
    parts += [_flat(g, _spread(g, *layer).deviation) for layer in before]
    if kind == "steps":
        parts += [_steps(g, *layer) for layer in layers]
    joined: Value = g.op("Concat", *parts, axis=1)
    return joined


def _steps(g: Graph, values: Value, seen: Value) -> Value:
    """Mean absolute difference of neighbours that are both seen (B, width)."""
    both = g.op("Mul", g.part(seen, 1, 1), g.part(seen, 1, 0, -1))
    moved = g.op("Abs", g.op("Sub", g.part(values, 1, 1), g.part(values, 1, 0, -1)))
    count = g.op("Max", g.sum(both, 1), g.constant(1.0))
    return _flat(g, g.op("Div", g.sum(g.op("Mul", moved, both), 1), count))


class Spread(NamedTuple):
    """Tokens (B, T', width) over those that are seen."""

    total: Value
    """(B, 1, 1), 1 where none is."""
    anything: Value
    mean: Value
    apart: Value
    """(B, T', width) from the mean, 0 where not seen."""
    deviation: Value
    """0 where nothing is seen."""


def _spread(g: Graph, values: Value, seen: Value) -> Spread:
    found = g.sum(seen, 1)
    count = g.op("Max", found, g.constant(1.0))
    anything = g.op("Greater", found, g.constant(0.5))
    mean = g.op("Div", g.sum(g.op("Mul", values, seen), 1), count)
    apart = g.op("Mul", g.op("Sub", values, mean), seen)
    squares = g.op("Div", g.sum(g.op("Mul", apart, apart), 1), count)
    deviation = g.op("Sqrt", g.op("Max", squares, g.constant(1e-8)))
    deviation = g.op("Where", anything, deviation, g.constant(0.0))
    return Spread(count, anything, mean, apart, deviation)


def unit_length(g: Graph, z: Value) -> Value:
    """`torch.nn.functional.normalize` of vectors (B, D)."""
    length = g.op("Sqrt", g.sum(g.op("Mul", z, z), 1))
    unit: Value = g.op("Div", z, g.op("Max", length, g.constant(1e-12)))
    return unit


def _products(g: Graph, apart: Value, width: int) -> Value:
    """Sums of products along the directions (B, 1, K (K + 1) / 2)."""
    across = directions(width, torch.device("cpu"))
    along = g.op("MatMul", apart, g.constant(across[None]))  # three axes: never in 8 bits
    products = g.op("MatMul", g.op("Transpose", along, perm=[0, 2, 1]), along)
    row, column = np.triu_indices(across.shape[1])
    flat = g.shape(products, 0, 1, -1)
    chosen: Value = g.op("Gather", flat, g.whole(*(row * across.shape[1] + column)), axis=2)
    return chosen


def _flat(g: Graph, x: Value) -> Value:
    flat: Value = g.op("Squeeze", x, g.whole(1))
    return flat
