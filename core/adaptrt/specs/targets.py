"""Targets of an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Target:
    """The runtime that a graph is made for, such as a TensorRT generation. Backends define them; ``--target`` selects one by ``name``.

    - ``newest_opset``: the newest ONNX opset that its parser fully supports
    - ``strongly_typed``: precision is in the ONNX graph and the network strongly typed; else builder flags
    - ``bf16``: whether it supports bfloat16; ``int64``: whether it computes in int64 or narrows to int32
    - ``exporter``: the front end whose graphs it reads; ``None``: both
    - ``operator_table``: which table of operators the graph check uses (``8``, ``10``, ``11``, ``rtx``); empty: none
    - ``efficient_nms``: whether it has the plugin EfficientNMS_TRT; ``onnx_nms``: whether it runs NonMaxSuppression
    """

    name: str
    title: str
    newest_opset: int
    strongly_typed: bool
    bf16: bool
    int64: bool
    exporter: Literal["torchscript", "dynamo"] | None = None
    operator_table: str = ""
    efficient_nms: bool = False
    onnx_nms: bool = True

    def reads_graph_of(self, other: Target) -> bool:
        """Whether it reads every graph that is made for the other target."""
        return other.newest_opset <= self.newest_opset and self.exporter in (None, other.exporter)
