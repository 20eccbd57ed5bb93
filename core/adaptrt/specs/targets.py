"""Targets of an ONNX graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Target:
    """The runtime that a graph is made for, such as a TensorRT generation. Backends define them; ``--target`` selects one by ``name``.

    - ``generation``: the TensorRT generation (8, 10 or 11) of its parser and API; 0 if it is not TensorRT
    - ``newest_opset``: the newest ONNX opset that its parser fully supports
    - ``strongly_typed``: precision is in the ONNX graph and the network strongly typed; else builder flags
    - ``bf16``: whether it supports bfloat16; ``int64``: whether it computes in int64 or narrows to int32
    - ``exporter``: the front end whose graphs it reads; ``None``: both
    """

    name: str
    title: str
    newest_opset: int
    strongly_typed: bool
    bf16: bool
    int64: bool
    generation: int = 0
    exporter: Literal["torchscript", "dynamo"] | None = None

    def reads_graph_of(self, other: Target) -> bool:
        """Whether it reads every graph that is made for the other target."""
        return other.newest_opset <= self.newest_opset and self.exporter in (None, other.exporter)
