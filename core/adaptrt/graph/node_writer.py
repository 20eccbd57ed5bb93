"""Writes nodes and constants into an ONNX graph, in the form that its opset requires."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from adaptrt.onnxfile.operators import STANDARD

if TYPE_CHECKING:
    from collections.abc import Sequence


class NodeWriter:
    """Adds nodes whose names begin with ``scope``. Values are named by position, so that a graph is the same every time."""

    def __init__(self, model: onnx.ModelProto, scope: str) -> None:
        self.model, self.graph, self.scope = model, model.graph, scope
        self.opset = next(one.version for one in model.opset_import if one.domain in STANDARD)
        self.count = 0
        self.constants: dict[tuple[str, bytes, tuple[int, ...]], str] = {}

    def named(self, kind: str, *inputs: str, output: str, **attributes: Any) -> str:
        self.graph.node.append(
            helper.make_node(kind, list(inputs), [output], name=f"{self.scope}{kind}_{self.count}", **attributes)
        )
        self.count += 1
        return output

    def ops(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        name = f"{self.scope}{kind}_{self.count}"
        self.count += 1
        made = [f"{name}_output_{number}" for number in range(outputs)]
        self.graph.node.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
        return made

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        return self.ops(kind, *inputs, outputs=1, **attributes)[0]

    def floats(self, kind: str, *inputs: str) -> str:
        """A comparison, or a logical operation, as float32: 0 or 1."""
        return self.to_float(self.op(kind, *inputs))

    def to_float(self, value: str) -> str:
        return self.op("Cast", value, to=TensorProto.FLOAT)

    def reduce(self, kind: str, value: str, *axes: int, keepdims: int) -> str:
        """Axes became an input with opset 13 for sums, with 18 for the others."""
        if self.opset >= (13 if kind == "ReduceSum" else 18):
            return self.op(kind, value, self.integers(axes), keepdims=keepdims)
        return self.op(kind, value, axes=list(axes), keepdims=keepdims)

    def column(self, value: str, axis: int) -> str:
        """[B, K] to [B, 1, K] (``axis`` 1) or [B, K, 1] (2)."""
        if self.opset >= 13:
            return self.op("Unsqueeze", value, self.integers([axis]))
        return self.op("Unsqueeze", value, axes=[axis])

    def rows(self, boxes: str, index: str, width: int = 4) -> str:
        """Rows [B, N, width], such as boxes, at indices [B, K]."""
        column = self.column(index, 2)
        wide = column if width == 1 else self.op("Concat", *[column] * width, axis=2)
        return self.op("GatherElements", boxes, wide, axis=1)

    def slice(self, value: str, axis: int, start: int, stop: int) -> str:
        return self.op("Slice", value, self.integers([start]), self.integers([stop]), self.integers([axis]))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def constant(self, value: Any) -> str:
        array = np.asarray(value)
        key = (array.dtype.str, array.tobytes(), array.shape)
        if key not in self.constants:
            self.constants[key] = f"{self.scope}constant_{len(self.constants)}"
            self.graph.initializer.append(numpy_helper.from_array(array, self.constants[key]))
        return self.constants[key]
