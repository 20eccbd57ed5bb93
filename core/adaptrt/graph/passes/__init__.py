"""Core's own graph passes."""

import functools
from collections.abc import Mapping, Sequence

from adaptrt.contributions import GraphPass
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
        GraphPass(name="fold", order=10, run=fold_constants, reason="what depends on no input is computed once"),
        GraphPass(name="clean", order=20, run=drop_redundant, reason="equal constants, equal nodes, dead nodes"),
        GraphPass(name="gather", order=40, run=make_gathers_positive, reason="TensorRT misreads negative indices"),
        GraphPass(
            name="shapes", order=80, run=infer_output_shapes, reason="outputs say their sizes where they are known"
        ),
        GraphPass(name="names", order=90, run=name_nodes, reason="names that stay the same between conversions"),
    ]
    if with_onnxsim:
        passes.append(
            GraphPass(
                name="simplify",
                order=30,
                run=functools.partial(simplify, shapes=shapes),
                reason="shape arithmetic that folding leaves behind",
            )
        )
    if target is not None and target.newest_opset <= OPSET:
        passes.append(
            GraphPass(
                name="opset17", order=50, run=lower_opset, reason="TensorRT 8 misreads operators of a later opset"
            )
        )
    return passes
