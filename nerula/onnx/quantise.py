"""Int8: weights, or weights and what meets them, in eight bits."""

import json

import numpy as np
import onnx
from onnx import helper, numpy_helper

from nerula.onnx.graph import arrays
from nerula.onnx.recipe import KEY

LEAST = 1 << 12
"""Numbers that a matrix must have to be worth it."""
WAYS = ("int8 products", "int8 weights")
"""The fastest first. Products: each input is rounded to 8 bits by its own range while the graph
runs. Weights: rounded in the file alone, products are in float32."""


def quantised(model: onnx.ModelProto, way: str) -> onnx.ModelProto:
    """The same graph, the matrices of its products rounded to 8 bits, each column by its own."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    held = arrays(model)
    large = {name for name, array in held.items() if array.ndim == 2 and array.size >= LEAST}
    chosen = {
        node.input[1]
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in large
    }
    kept = [one for one in model.graph.initializer if one.name not in chosen]
    nodes: list[onnx.NodeProto] = []
    for name in sorted(chosen):
        spread = np.abs(held[name]).max(axis=0) / 127
        spread = np.where(spread > 0, spread, 1).astype(np.float32)
        rounded = np.rint(held[name] / spread).astype(np.int8)
        kept.append(numpy_helper.from_array(rounded, f"{name}_q"))
        kept.append(numpy_helper.from_array(spread, f"{name}_s"))
        if way == "int8 weights":
            spread_over = [f"{name}_q", f"{name}_s"]
            nodes.append(helper.make_node("DequantizeLinear", spread_over, [name], axis=1))
    for node in model.graph.node:
        if way == "int8 products" and node.op_type == "MatMul" and node.input[1] in chosen:
            nodes += _product(node)
        else:
            nodes.append(node)
    del result.graph.node[:], result.graph.initializer[:]
    result.graph.node.extend(nodes)
    result.graph.initializer.extend(kept)
    for fact in result.metadata_props:
        if fact.key == KEY:
            words = json.loads(fact.value)
            words["model"]["weights"] = way
            fact.value = json.dumps(words, ensure_ascii=False)
    onnx.checker.check_model(result, full_check=True)
    return result


def _product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """A product of whole numbers, and back; runtimes make one step of it."""
    x, weight, y = node.input[0], node.input[1], node.output[0]
    rounded, scale, zero = (f"{y}_{part}" for part in ("q", "scale", "zero"))
    whole, real, both = (f"{y}_{part}" for part in ("whole", "real", "both"))
    return [
        helper.make_node("DynamicQuantizeLinear", [x], [rounded, scale, zero]),
        helper.make_node("MatMulInteger", [rounded, f"{weight}_q", zero], [whole]),
        helper.make_node("Cast", [whole], [real], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [scale, f"{weight}_s"], [both]),
        helper.make_node("Mul", [real, both], [y]),
    ]
