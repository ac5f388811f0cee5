"""Build: a model, and a probe behind it, as the bytes of one file."""

import json
from typing import Any

import numpy as np
import onnx

from nerula.errors import UsageError
from nerula.model import Model
from nerula.onnx.graph import Graph, Value
from nerula.onnx.networks import embedding
from nerula.onnx.recipe import EMBEDDING, INPUT, KEY, PROBABILITIES, recipe
from nerula.portable import Probe


def build(model: Model, dimensions: int, probe: Probe | None = None) -> onnx.ModelProto:
    """The graph with its weights in float32 and its recipe inside."""
    g = Graph()
    leads = len(model.contract.leads)
    z = embedding(g, model.method, INPUT)
    outputs: dict[str, tuple[Value, tuple[Any, ...]]] = {EMBEDDING: (z, ("batch", dimensions))}
    if probe is not None:
        outputs[PROBABILITIES] = (_probed(g, z, probe), ("batch", len(probe.classes)))
    words = json.dumps(recipe(model, dimensions, probe, "float32"), ensure_ascii=False)
    return g.model({INPUT: ("batch", leads, "time")}, outputs, {KEY: words})


def _probed(g: Graph, z: Value, probe: Probe) -> Value:
    """A linear probe: standardising goes into its coefficients."""
    arrays = probe.arrays
    calibrated = any(name.startswith("calibration") for name in arrays)
    if probe.form != "linear" or probe.kind == "values" or calibrated:
        raise UsageError(
            f"A {probe.form} probe of {probe.kind} does not go into the file.",
            "Linear probes of classes or labels do; apply others to the embedding.",
        )
    slopes = arrays["coefficients"] / arrays["spread"]
    shifts = arrays["intercepts"] - slopes @ arrays["centre"]
    raw = g.op("Add", g.op("MatMul", z, g.constant(slopes.T)), g.constant(shifts))
    if probe.kind == "labels":
        labels: Value = g.op("Sigmoid", raw)
        return labels
    if len(slopes) == 1:
        second = g.op("Sigmoid", raw)
        shares = g.op("Concat", g.op("Sub", g.constant(1.0), second), second, axis=1)
    else:
        shares = g.op("Softmax", raw, axis=1)
    columns, count = np.asarray(arrays["columns"]), len(probe.classes)
    if not np.array_equal(columns, np.arange(count)):  # classes that its training did not have
        place = np.eye(count)[columns]
        shares = g.op("MatMul", shares, g.constant(place))
    found: Value = shares
    return found
