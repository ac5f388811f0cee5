"""Build: a model, and a probe behind it, as the bytes of one file."""

import json
from typing import Any

import onnx

from nerula.model import Model
from nerula.onnx.graph import Graph, Value
from nerula.onnx.heads import answered
from nerula.onnx.networks import embedding
from nerula.onnx.recipe import EMBEDDING, INPUT, KEY, answer, recipe
from nerula.portable import Probe


def build(model: Model, dimensions: int, probe: Probe | None = None) -> onnx.ModelProto:
    """The graph with its weights in float32 and its recipe inside."""
    g = Graph()
    leads = len(model.contract.leads)
    z = embedding(g, model.method, INPUT)
    outputs: dict[str, tuple[Value, tuple[Any, ...]]] = {EMBEDDING: (z, ("batch", dimensions))}
    if probe is not None:
        outputs[answer(probe)] = (answered(g, z, probe), ("batch", len(probe.answers)))
    words = json.dumps(recipe(model, dimensions, probe, "float32"), ensure_ascii=False)
    return g.model({INPUT: ("batch", leads, "time")}, outputs, {KEY: words})
