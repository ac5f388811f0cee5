"""Networks as graphs: which modules there are, and what each of them computes."""

import math
from collections.abc import Callable, Iterable
from typing import Any, cast

from torch import Tensor, nn

from nerula.encoders.attention import block_length
from nerula.encoders.backbone import Backbone
from nerula.encoders.local import Block, LocalEncoder, Stem
from nerula.encoders.pool import LAYERED
from nerula.encoders.resnet import Bottleneck, ResNet
from nerula.encoders.wav2vec import Wav2Vec
from nerula.errors import UsageError
from nerula.method import Method
from nerula.methods.nerula import Nerula
from nerula.methods.supervised import Predictor
from nerula.methods.w2v_cmsc_rlm import W2vCmscRlm
from nerula.onnx.graph import Graph, Value
from nerula.onnx.layers import (
    Signal,
    Tokens,
    attention,
    block_of,
    convolution,
    filled_up,
    gelu,
    linear,
    maximum,
    measured,
    norm,
    pooled,
    pooled_layers,
    scaled,
    unit_length,
    window_bias,
)
from nerula.onnx.wave import wave


def embedding(g: Graph, method: Method, signal: Value) -> Value:
    """`method.embed` of a signal (B, leads, time) with NaN where nothing was measured."""
    if isinstance(method, Predictor):
        return embedding(g, method.body, signal)
    own: Any = getattr(method, "encoder", None)
    encoder: Any = own.encoder if isinstance(own, Backbone) else own
    holder: Any = own if isinstance(own, Backbone) else method
    if not isinstance(own, Backbone) and not isinstance(method, Nerula | W2vCmscRlm):
        raise _unknown(method)
    over_time = isinstance(encoder, Wav2Vec) and encoder.front.group
    if type(encoder) not in ENCODERS or over_time:
        raise _unknown(method)
    layers = ENCODERS[type(encoder)](
        g, encoder, scaled(g, measured(g, signal), holder.normalise, holder.unit)
    )
    if holder.pooling in LAYERED:
        z = pooled_layers(g, layers, encoder.width, holder.pooling)
    else:
        z = pooled(g, *layers[-1], holder.pooling, encoder.width)
    return unit_length(g, z) if isinstance(own, Backbone) and own.directions else z


def _unknown(method: Method) -> UsageError:
    return UsageError(
        f"{type(method).__name__} cannot be exported: its embedding is not that of an encoder "
        "whose graph is known.",
        "Known are NERULA's local encoder, the ResNet, and wav2vec that normalises each place by "
        "itself, as the methods here use them.",
    )


def _entrance(g: Graph, signal: Signal, grid: int) -> tuple[Value, Value]:
    """Signal with its validity (B, T, 2 leads), and the places that any lead has (B, T, 1)."""
    both = filled_up(g, g.op("Concat", signal.x, signal.seen, axis=1), grid)
    any_lead = g.op("ReduceMax", filled_up(g, signal.seen, grid), axes=[1], keepdims=1)
    return (
        g.op("Transpose", both, perm=[0, 2, 1]),
        g.op("Transpose", any_lead, perm=[0, 2, 1]),
    )


# --- NERULA's encoder ----------------------------------------------------------------------------


def local(g: Graph, encoder: LocalEncoder, signal: Signal) -> list[Tokens]:
    """Masked convolutions, then blocks of windowed attention."""
    blocks = list(cast("Iterable[Block]", encoder.blocks))
    lengths = [block_of(block.reach) for block in blocks if block.reach]
    lengths += [2 * block_length(block.reach) for block in blocks if block.rotary]
    h, seen = _entrance(g, signal, encoder.stride * math.lcm(1, *lengths))
    layers: list[Tokens] = []
    for stem in cast("Iterable[Stem]", encoder.stem):
        seen = _strided(g, seen, stem.stride)
        mixed = h
        for layer in stem.mix if isinstance(stem.mix, nn.Sequential) else [stem.mix]:
            mixed = _mixed(g, mixed, layer)
        h = gelu(g, norm(g, g.op("Mul", mixed, seen), stem.norm))
        layers.append(Tokens(h, seen))
    if isinstance(encoder.widen, nn.Linear):
        h = linear(g, h, encoder.widen.weight)
    layers[-1:] = [Tokens(h, seen)]
    biases: dict[tuple[Value, int], Value] = {}
    for block in blocks:
        seen = _strided(g, seen, block.stride)
        key = (seen, block.reach)
        if key not in biases:
            biases[key] = window_bias(g, *key)
        h = _block(g, block, h, seen, biases[key])
        layers.append(Tokens(h, seen))
    layers[-1] = Tokens(norm(g, h, encoder.norm), seen)
    return layers


def _strided(g: Graph, seen: Value, stride: int) -> Value:
    return seen if stride == 1 else g.part(seen, 1, 0, None, stride)


def _mixed(g: Graph, x: Value, layer: Any) -> Value:
    return linear(g, x, layer.weight) if isinstance(layer, nn.Linear) else convolution(g, x, layer)


def _block(g: Graph, block: Block, x: Value, seen: Value, bias: Value) -> Value:
    width = block.qkv.in_features
    size = width // block.heads
    weight: Tensor = block.qkv.weight.detach().float().clone()
    weight[:width] *= size**-0.5  # queries: what scores are divided by
    near = g.op("Mul", convolution(g, norm(g, x, block.norm), block.local), seen)
    mixed = attention(
        g,
        linear(g, near, weight),
        bias,
        heads=block.heads,
        size=size,
        reach=block.reach,
        rotary=block.rotary,
    )
    if block.stride > 1:
        x = g.op("Mul", maximum(g, x, block.stride), seen)
    x = g.op("Add", x, g.op("Mul", linear(g, mixed, block.out.weight), seen))
    before, enter, _, leave = block.mlp
    inner = gelu(g, linear(g, norm(g, x, before), cast("Tensor", enter.weight)))
    y: Value = g.op("Add", x, linear(g, inner, cast("Tensor", leave.weight)))
    return y


# --- the ResNet ----------------------------------------------------------------------------------


def resnet(g: Graph, encoder: ResNet, signal: Signal) -> list[Tokens]:
    """He's network. Behind the recording's end there is nothing, so it is zero everywhere."""
    ones = g.op("Add", g.op("Mul", signal.seen, g.constant(0.0)), g.constant(1.0))
    h, seen = _entrance(g, signal, encoder.stride)
    inside = g.op("Transpose", filled_up(g, ones, encoder.stride), perm=[0, 2, 1])
    inside = g.part(inside, 2, 0, 1)
    seen, inside = _strided(g, seen, 2), _strided(g, inside, 2)
    h = g.op("Mul", g.op("Relu", norm(g, convolution(g, h, encoder.stem), encoder.norm)), seen)
    seen, inside = _strided(g, seen, 2), _strided(g, inside, 2)
    h = g.op("Mul", maximum(g, h, 2), seen)
    layers = []
    for number, block in enumerate(cast("Iterable[Bottleneck]", encoder.blocks), start=1):
        narrow = g.op("Relu", norm(g, _mixed(g, h, block.reduce[0]), block.reduce[1]))
        narrow = convolution(g, g.op("Mul", narrow, inside), block.local)
        skip = _strided(g, h, block.stride)
        seen, inside = _strided(g, seen, block.stride), _strided(g, inside, block.stride)
        narrow = g.op("Relu", norm(g, g.op("Mul", narrow, seen), block.widen[0]))
        wide = norm(g, _mixed(g, narrow, block.widen[2]), block.widen[3])
        if isinstance(block.skip, nn.Sequential):
            skip = norm(g, _mixed(g, skip, block.skip[0]), block.skip[1])
        h = g.op("Mul", g.op("Relu", g.op("Add", wide, skip)), seen)
        if number in encoder.ends:
            layers.append(Tokens(h, seen))
    return layers


ENCODERS: dict[type[nn.Module], Callable[[Graph, Any, Signal], list[Tokens]]] = {
    LocalEncoder: local,
    ResNet: resnet,
    Wav2Vec: wave,
}
"""What is known."""
