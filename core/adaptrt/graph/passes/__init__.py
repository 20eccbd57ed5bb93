"""Core's own graph passes."""

import functools
from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from adaptrt.contributions import PASS_ORDER, GraphPass
from adaptrt.graph.passes.clean import (
    drop_redundant,
    fold_constants,
    infer_output_shapes,
    make_gathers_positive,
    name_nodes,
)
from adaptrt.graph.passes.opset17 import OPSET, lower_opset
from adaptrt.graph.passes.simplify import simplify
from adaptrt.specs.targets import Target


def standard_passes(
    *, with_onnxsim: bool, shapes: Mapping[str, Sequence[int]] | None = None, target: Target | None = None
) -> list[GraphPass]:
    """The passes for every graph; onnxsim verifies its result at these input ``shapes``.

    For a target that supports opsets only up to 17, a pass that lowers the opset is added.
    """
    passes = [
        _core_pass("fold", fold_constants, "computes expressions that depend on no input"),
        _core_pass("clean", drop_redundant, "merges equal constants and equal nodes, removes unused nodes"),
        _core_pass("gather", make_gathers_positive, "TensorRT has returned wrong results for negative indices"),
        _core_pass("shapes", infer_output_shapes, "sets known sizes of outputs"),
        _core_pass("names", name_nodes, "keeps node names the same between conversions"),
    ]
    if with_onnxsim:
        run = functools.partial(simplify, shapes=shapes)
        passes.append(_core_pass("simplify", run, "simplifies shape arithmetic that folding leaves"))
    if target is not None and target.newest_opset <= OPSET:
        passes.append(_core_pass("opset17", lower_opset, "TensorRT 8 misreads operators of opsets above 17"))
    return passes


def _core_pass(name: str, run: Callable[[ir.Model], ir.Model | None], reason: str) -> GraphPass:
    return GraphPass(name=name, order=PASS_ORDER[name], run=run, reason=reason)
