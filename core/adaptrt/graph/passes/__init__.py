"""Core's own graph passes."""

import functools
from collections.abc import Mapping, Sequence

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
        GraphPass(
            name="fold",
            order=PASS_ORDER["fold"],
            run=fold_constants,
            reason="computes expressions that depend on no input",
        ),
        GraphPass(
            name="clean",
            order=PASS_ORDER["clean"],
            run=drop_redundant,
            reason="merges equal constants and equal nodes, removes unused nodes",
        ),
        GraphPass(
            name="gather",
            order=PASS_ORDER["gather"],
            run=make_gathers_positive,
            reason="TensorRT has returned wrong results for negative indices",
        ),
        GraphPass(
            name="shapes",
            order=PASS_ORDER["shapes"],
            run=infer_output_shapes,
            reason="sets known sizes of outputs",
        ),
        GraphPass(
            name="names",
            order=PASS_ORDER["names"],
            run=name_nodes,
            reason="keeps node names the same between conversions",
        ),
    ]
    if with_onnxsim:
        passes.append(
            GraphPass(
                name="simplify",
                order=PASS_ORDER["simplify"],
                run=functools.partial(simplify, shapes=shapes),
                reason="simplifies shape arithmetic that folding leaves",
            )
        )
    if target is not None and target.newest_opset <= OPSET:
        passes.append(
            GraphPass(
                name="opset17",
                order=PASS_ORDER["opset17"],
                run=lower_opset,
                reason="TensorRT 8 misreads operators of opsets above 17",
            )
        )
    return passes
