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
    """What every graph goes through; ``shapes`` of the inputs are those that onnxsim checks itself at.

    A target that reads no later opset than 17 adds what brings the graph back to it.
    """
    passes = [
        GraphPass(
            name="fold",
            order=PASS_ORDER["fold"],
            run=fold_constants,
            reason="what depends on no input is computed once",
        ),
        GraphPass(
            name="clean",
            order=PASS_ORDER["clean"],
            run=drop_redundant,
            reason="equal constants, equal nodes, dead nodes",
        ),
        GraphPass(
            name="gather",
            order=PASS_ORDER["gather"],
            run=make_gathers_positive,
            reason="TensorRT misreads negative indices",
        ),
        GraphPass(
            name="shapes",
            order=PASS_ORDER["shapes"],
            run=infer_output_shapes,
            reason="outputs say their sizes where they are known",
        ),
        GraphPass(
            name="names",
            order=PASS_ORDER["names"],
            run=name_nodes,
            reason="names that stay the same between conversions",
        ),
    ]
    if with_onnxsim:
        passes.append(
            GraphPass(
                name="simplify",
                order=PASS_ORDER["simplify"],
                run=functools.partial(simplify, shapes=shapes),
                reason="shape arithmetic that folding leaves behind",
            )
        )
    if target is not None and target.newest_opset <= OPSET:
        passes.append(
            GraphPass(
                name="opset17",
                order=PASS_ORDER["opset17"],
                run=lower_opset,
                reason="TensorRT 8 misreads operators of a later opset",
            )
        )
    return passes
