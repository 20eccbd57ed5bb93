"""Make the fixed batch of a graph dynamic by rewriting constants. Run the result to check that it worked."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import GraphError
from adaptrt.graph.model_file import add_constant, check_model, graph_of
from adaptrt.onnxfile.files import OnnxFiles

AXIS = "batch"


def set_dynamic_batch(model: ir.Model) -> int:
    """Make the first axis of inputs and outputs symbolic, in place; returns the previous fixed batch.

    Inputs that share the first one's batch get it; constants that repeat the batch (targets of Reshape and Expand, sizes
    of Resize) are rewritten to follow it.
    """
    batch = _fixed_batch(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.ShapeInferencePass()(model)
    for node in model.graph:
        if node.op_type == "Reshape":
            if _follow(model, node, 1, _reshaped_with_zeros if _allows_zero(node) else _reshaped):
                node.attributes.pop("allowzero", None)  # a 0 copies the batch now, and none was there before
        elif node.op_type == "Expand":
            _follow(model, node, 1, _expanded)
        elif node.op_type == "Resize" and len(node.inputs) > 3 and node.inputs[3] is not None:
            _scale_instead(model, node)
    for value in [*model.graph.inputs, *model.graph.outputs]:
        if value.shape is not None and len(value.shape) and value.shape[0] == batch:
            value.shape = ir.Shape([AXIS, *list(value.shape)[1:]])
    for node in model.graph:  # what was inferred for the fixed batch
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None
    common.ShapeInferencePass()(model)
    return batch


def write_dynamic_batch(source: Path, destination: Path, files: OnnxFiles) -> None:
    """Write the file with a dynamic batch; the caller checks that it still computes the same function."""
    model = graph_of(source, files)
    with _quiet():
        set_dynamic_batch(model)
    try:
        check_model(model)
    except Exception as error:
        said = " ".join(str(error).split())
        raise GraphError(
            f"The batch of {source.name} cannot be made dynamic: {said}",
            hint="Export the model again with a dynamic batch.",
        ) from error
    onnx.save(ir.to_proto(model), str(destination))
    files.hold(destination, model)


_silencing = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnx_ir, which logs a traceback for each failed inference; the check that follows reports it in one line."""
    logger = logging.getLogger("onnx_ir")
    with _silencing:  # another thread would restore the level that it has here
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)


def _fixed_batch(model: ir.Model) -> int:
    first = model.graph.inputs[0] if model.graph.inputs else None
    size = first.shape[0] if first is not None and first.shape is not None and len(first.shape) else None
    if first is None or size is None:
        raise GraphError("The graph has no input with a batch axis.", hint="Remove --set-dynamic-batch.")
    if not isinstance(size, int):
        raise GraphError(f"The batch of input {first.name!r} is already dynamic.", hint="Remove --set-dynamic-batch.")
    return size


def _follow(
    model: ir.Model, node: ir.Node, position: int, rewrite: Callable[[list[int], int], list[int] | None]
) -> bool:
    """Replace a constant shape that repeats the batch by one that follows it; returns whether there was one."""
    data, target = node.inputs[0], node.inputs[position]
    constant = target.const_value if target is not None else None
    if data is None or data.shape is None or not len(data.shape) or constant is None:
        return False
    batch = data.shape[0]
    sizes = [int(size) for size in constant.numpy()]
    changed = rewrite(sizes, batch) if isinstance(batch, int) and batch and sizes else None
    if changed is not None:
        array = np.array(changed, np.int64)
        node.replace_input_with(
            position, add_constant(model, f"{node.name or node.outputs[0].name}_{AXIS}_shape", array)
        )
    return changed is not None


def _allows_zero(node: ir.Node) -> bool:
    found = node.attributes.get("allowzero")
    return found is not None and bool(found.as_int())


def _reshaped(sizes: list[int], first: int) -> list[int] | None:
    """``[1, 255, 80, 80]`` to ``[-1, 255, 80, 80]``; with a -1 elsewhere, 0 copies the first axis.

    Windows are cut out of that axis and put back into it, so that its size may be a multiple of the target's, or the other
    way round.
    """
    if sizes[0] <= 0 or (sizes[0] % first and first % sizes[0]):
        return None
    if -1 not in sizes:
        return [-1, *sizes[1:]]
    return [0, *sizes[1:]] if sizes[0] == first else None


def _reshaped_with_zeros(sizes: list[int], first: int) -> list[int] | None:
    """Where a 0 is the size of an axis, and copies nothing."""
    return None if 0 in sizes else _reshaped(sizes, first)


def _expanded(sizes: list[int], batch: int) -> list[int] | None:
    """1 leaves the axis as it is, where it is the batch already."""
    return [1, *sizes[1:]] if sizes[0] == batch != 1 else None


def _scale_instead(model: ir.Model, node: ir.Node) -> None:
    """Sizes with a batch in them become scales."""
    data, sizes = node.inputs[0], node.inputs[3]
    constant = sizes.const_value if sizes is not None else None
    if data is None or data.shape is None or constant is None or not all(isinstance(size, int) for size in data.shape):
        return
    wanted = np.asarray(constant.numpy()).astype(np.float64)
    if "axes" in node.attributes or len(wanted) != len(data.shape):
        return
    scales = (wanted / np.asarray(list(data.shape), np.float64)).astype(np.float32)
    name = f"{node.name or node.outputs[0].name}_{AXIS}_scales"
    node.replace_input_with(2, add_constant(model, name, scales))
    node.replace_input_with(3, None)
