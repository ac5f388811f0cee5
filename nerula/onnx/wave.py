"""wav2vec as a graph: a front, and a transformer over pieces of what it gives."""

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from nerula.encoders.transformer import TransformerBlock
from nerula.encoders.wav2vec import Front, Positions, Wav2Vec
from nerula.methods.w2v_cmsc_rlm import LONGEST
from nerula.onnx.graph import Graph, Value
from nerula.onnx.layers import (
    Signal,
    Tokens,
    attention,
    filled_up,
    gelu,
    linear,
    norm,
    window_bias,
)


def wave(g: Graph, encoder: Wav2Vec, signal: Signal) -> list[Tokens]:
    """What the front gives in the transformer's width, and each block."""
    stride, width = encoder.stride, encoder.width
    batch = g.op("Shape", signal.x, start=0, end=1)
    size = _piece(g, signal.x, stride)
    x, seen = (_cut(g, one, stride, size) for one in (signal.x, signal.seen))
    h, there = _front(g, encoder.front, x, seen)
    h = linear(g, norm(g, h, encoder.norm), encoder.enter.weight, encoder.enter.bias)
    h = g.op("Mul", h, there)
    layers = [h]
    h = g.op("Add", h, _positions(g, encoder.positions, h))
    if encoder.post:
        h = norm(g, h, encoder.context_norm)
    bias = window_bias(g, there, 0)
    blocks = list(cast("Iterable[TransformerBlock]", encoder.blocks))
    for number, block in enumerate(blocks, start=1):
        h = _block(g, block, h, bias)
        if number == len(blocks) and not encoder.post:
            h = norm(g, h, encoder.context_norm)
        layers.append(g.op("Mul", h, there))
    there = _joined(g, there, batch, 1)
    return [Tokens(_joined(g, one, batch, width), there) for one in layers]


def _piece(g: Graph, x: Value, stride: int) -> Value:
    """Samples of a piece: all there are, in whole tokens, but no more than attention takes."""
    time = g.op("Shape", x, start=2, end=3)
    whole = g.op("Div", g.op("Add", time, g.whole(stride - 1)), g.whole(stride))
    size: Value = g.op("Min", g.op("Mul", whole, g.whole(stride)), g.whole(stride * LONGEST))
    return size


def _cut(g: Graph, x: Value, stride: int, size: Value) -> Value:
    """(B, leads, time) to (B pieces, size, leads), zeros behind the end."""
    x = filled_up(g, x, stride)
    time = g.op("Shape", x, start=2, end=3)
    rest = g.op("Mod", g.op("Neg", time), size)
    pads = g.op("Concat", g.whole(0, 0, 0, 0, 0), rest, axis=0)
    longer = g.op("Pad", x, pads, g.constant(0.0))
    leads = g.op("Shape", x, start=1, end=2)
    shape = g.op("Concat", g.whole(-1), size, leads, axis=0)
    pieces: Value = g.op("Reshape", g.op("Transpose", longer, perm=[0, 2, 1]), shape)
    return pieces


def _joined(g: Graph, h: Value, batch: Value, width: int) -> Value:
    """Tokens of all pieces one after the other: (B, T', width)."""
    joined: Value = g.op("Reshape", h, g.op("Concat", batch, g.whole(-1, width), axis=0))
    return joined


def _front(g: Graph, front: Front, x: Value, seen: Value) -> tuple[Value, Value]:
    """Pairs of neighbours to one place, layer by layer; and which tokens have any sample."""
    inputs = cast("nn.Linear", front.layers[0]).in_features // 2
    layers = cast("Iterable[nn.Linear]", front.layers)
    for layer, normed in zip(layers, front.norms, strict=True):
        pairs = g.shape(x, 0, -1, layer.in_features)
        x = gelu(g, norm(g, linear(g, pairs, layer.weight), normed))
    tokens = g.shape(seen, 0, -1, front.stride * inputs)
    there = g.op("ReduceMax", tokens, axes=[2], keepdims=1)
    return g.op("Mul", x, there), there


def _positions(g: Graph, positions: Positions, h: Value) -> Value:
    before = positions.kernel // 2
    mixed = g.op(
        "Conv",
        g.op("Transpose", h, perm=[0, 2, 1]),
        g.constant(positions.weight()),
        g.constant(positions.bias),
        group=positions.groups,
        pads=[before, positions.kernel - 1 - before],
    )
    told: Value = g.op("Transpose", gelu(g, mixed), perm=[0, 2, 1])
    return told


def _block(g: Graph, block: TransformerBlock, x: Value, bias: Value) -> Value:
    width = block.qkv.in_features
    enter, leave = (cast("nn.Linear", block.mlp[place]) for place in (1, 3))

    def attended(h: Value) -> Value:
        size = width // block.heads
        weight, shift = (one.detach().float().clone() for one in _both(block.qkv))
        weight[:width] *= size**-0.5  # queries: what scores are divided by
        shift[:width] *= size**-0.5
        qkv = linear(g, h, weight, shift)
        mixed = attention(g, qkv, bias, heads=block.heads, size=size, reach=0, rotary=False)
        return linear(g, mixed, *_both(block.out))

    def widened(h: Value) -> Value:
        return linear(g, gelu(g, linear(g, h, *_both(enter))), *_both(leave))

    if block.post:
        x = norm(g, g.op("Add", x, attended(x)), block.norm)
        return norm(g, g.op("Add", x, widened(x)), block.mlp[0])
    x = g.op("Add", x, attended(norm(g, x, block.norm)))
    y: Value = g.op("Add", x, widened(norm(g, x, block.mlp[0])))
    return y


def _both(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    return layer.weight, layer.bias
