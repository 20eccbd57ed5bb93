"""A rule broken once."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from adaptrt.report import Severity


@dataclass(frozen=True)
class Hit:
    """A rule broken at a node, or by the graph as a whole."""

    rule: str
    operator: str
    node: ir.Node | None = None
    detail: str = ""
    severity: Severity | None = None
