"""Heads: what a probe says of an embedding, behind it in the same graph.

Linear probes and networks are products; a forest would need operations that are not the
standard's, and a kernel machine would carry the embeddings of the people that it learned from.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerula.errors import UsageError
from nerula.onnx.graph import Graph, Value
from nerula.portable import Probe

Arrays = NDArray[Any]
FORMS = ("linear", "network")


def answered(g: Graph, z: Value, probe: Probe) -> Value:
    """Probabilities (batch, classes), or values (batch, 1) in their own unit."""
    if probe.form not in FORMS:
        raise UsageError(
            f"A {probe.form} probe of {probe.kind} does not go into the file.",
            "Linear probes and networks do (logistic, ridge, mlp, ensemble); apply others to the "
            "embedding.",
        )
    # Not a part of the first matrix: eight bits could not hold it then.
    x = g.op("Sub", z, g.constant(probe.arrays["centre"]))
    x = g.op("Mul", x, g.constant(1 / probe.arrays["spread"]))
    raw, columns = _raw(g, x, _layers(probe))
    if probe.kind == "values":
        unit, offset = (g.constant(probe.arrays[name].reshape(1)) for name in ("unit", "offset"))
        values: Value = g.op("Add", g.op("Mul", raw, unit), offset)
        return values
    if probe.kind == "labels":
        labels: Value = g.op("Sigmoid", raw)
        return labels
    return _classes(g, raw, columns, probe)


def _layers(probe: Probe) -> list[tuple[Arrays, Arrays]]:
    """Matrices and shifts, one after the other."""
    arrays = probe.arrays
    if probe.form == "linear":
        return [(arrays["coefficients"].T, arrays["intercepts"])]
    count = sum(name.startswith("weights.") for name in arrays)
    return [(arrays[f"weights.{place}"], arrays[f"biases.{place}"]) for place in range(count)]


def _raw(g: Graph, x: Value, layers: list[tuple[Arrays, Arrays]]) -> tuple[Value, int]:
    """What the last layer gives, and how many columns of it."""
    for place, (weights, shifts) in enumerate(layers):
        x = g.op("Relu", x) if place else x
        x = g.op("Add", g.op("MatMul", x, g.constant(weights)), g.constant(shifts))
    return x, len(layers[-1][1])


def _classes(g: Graph, raw: Value, columns: int, probe: Probe) -> Value:
    """Shares that add up to 1; nothing for a class that the training did not have."""
    if columns == 1:
        second = g.op("Sigmoid", raw)
        shares = g.op("Concat", g.op("Sub", g.constant(1.0), second), second, axis=1)
    else:
        shares = g.op("Softmax", raw, axis=1)
    held, count = np.asarray(probe.arrays["columns"]), len(probe.classes)
    if not np.array_equal(held, np.arange(count)):
        shares = g.op("MatMul", shares, g.constant(np.eye(count)[held]))
    found: Value = shares
    return found
