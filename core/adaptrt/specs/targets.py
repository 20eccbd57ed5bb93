"""What an ONNX graph is made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Target:
    """What reads the graph, such as a TensorRT generation. A backend offers its own; ``--target`` chooses by ``name``.

    - ``generation`` of TensorRT whose parser and API it has: 8, 10 or 11; 0 for what is not TensorRT
    - ``newest_opset``: of ONNX, that its parser reads in full
    - ``strongly_typed``: precision is in the ONNX graph and the network strongly typed; else builder flags
    - ``bf16``: whether it knows bfloat16; ``int64``: whether it computes in int64, else it narrows to int32
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
