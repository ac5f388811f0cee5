"""Graph: operations of ONNX, appended one after the other."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

OPSET, FORMAT = 17, 8
"""Of ONNX: versions of 2022, which runtimes on devices have."""
Value = str
"""The name of what an operation gives."""


class Graph:
    """A graph that grows. Values are float32 unless the operation says otherwise."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[Any, ...], onnx.TensorProto] = {}

    def op(self, kind: str, *inputs: Value, outputs: int = 1, **attributes: Any) -> Any:
        """Append an operation; its result, or its results where there are several."""
        names = [f"{kind}_{len(self._nodes)}" + (f"_{i}" if i else "") for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, values: Any, kind: type[np.generic] = np.float32) -> Value:
        """An array that comes along with the file; equal ones are kept once."""
        if isinstance(values, Tensor):
            values = values.detach().float().cpu().numpy()
        array = np.ascontiguousarray(values, dtype=kind)
        array = array.reshape(np.shape(values))  # a number stays a number
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"c{len(self._constants)}"
            self._constants[key] = numpy_helper.from_array(array, name)
        kept: str = self._constants[key].name
        return kept

    def whole(self, *values: int) -> Value:
        """Whole numbers: shapes, axes, places."""
        return self.constant(values, np.int64)

    def shape(self, x: Value, *sizes: int) -> Value:
        """Another shape; 0 keeps the size at that place, -1 takes what is left."""
        shaped: Value = self.op("Reshape", x, self.whole(*sizes))
        return shaped

    def part(
        self, x: Value, axis: int, start: int, end: int | None = None, step: int = 1
    ) -> Value:
        """A slice along an axis."""
        last = np.iinfo(np.int64).max if end is None else end
        places = [self.whole(value) for value in (start, last, axis, step)]
        piece: Value = self.op("Slice", x, *places)
        return piece

    def pad(
        self, x: Value, rank: int, axis: int, widths: tuple[int, int], fill: float = 0.0
    ) -> Value:
        """Constant values before and after along an axis of one of `rank` axes."""
        before, after = widths
        if not before and not after:
            return x
        pads = [0] * (2 * rank)
        pads[axis], pads[rank + axis] = before, after
        padded: Value = self.op("Pad", x, self.whole(*pads), self.constant(fill))
        return padded

    def sum(self, x: Value, axis: int) -> Value:
        """The sum along an axis, which stays."""
        total: Value = self.op("ReduceSum", x, self.whole(axis), keepdims=1)
        return total

    def model(
        self,
        inputs: dict[str, tuple[Any, ...]],
        outputs: dict[str, tuple[Value, tuple[Any, ...]]],
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The whole file: inputs and outputs by name and shape, and words about it."""
        nodes = list(self._nodes)
        for name, (value, _) in outputs.items():
            nodes.append(helper.make_node("Identity", [value], [name]))

        def described(name: str, shape: tuple[Any, ...]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            nodes,
            "nerula",
            [described(name, shape) for name, shape in inputs.items()],
            [described(name, shape) for name, (_, shape) in outputs.items()],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="nerula",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=FORMAT,
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def arrays(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Every array of a file, by name."""
    return {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
