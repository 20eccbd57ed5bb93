"""Passes that simplify a graph without changing its result, built on transformations of onnx_ir and onnxscript."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import common

from adaptrt.graph.model_file import add_constant

SMALL_CONSTANT = 1024  # elements
NAME_SCOPES = "pkg.torch.onnx.name_scopes"
"""The key under which dynamo writes the modules that a node comes from; TorchScript writes them into its name."""


def fold_constants(model: ir.Model) -> None:
    """Compute expressions that depend on no input; nodes with large results are kept, so that the file does not grow."""
    onnxscript.optimizer.fold_constants(model, should_fold=_should_fold)
    common.RemoveUnusedNodesPass()(model)


def _should_fold(node: ir.Node) -> bool | None:
    """onnxscript keeps every ConstantOfShape, and with it the amounts of each Pad that TorchScript writes."""
    if node.op_type != "ConstantOfShape" or not node.inputs or node.inputs[0] is None:
        return None
    shape = ir.convenience.get_const_tensor(node.inputs[0])
    return True if shape is not None and math.prod(shape.numpy().tolist()) <= SMALL_CONSTANT else None


def drop_redundant(model: ir.Model) -> None:
    """Merge equal initializers and equal expressions; drop identities, dead nodes, unused opsets."""
    with _needed_identities_kept(model):
        common.IdentityEliminationPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    declared = {value.name: (value.type, value.shape) for value in model.graph.outputs}
    common.CommonSubexpressionEliminationPass()(model)
    # an equal inner value, of which exporters write no type, may have become an output
    for value in model.graph.outputs:
        of_type, shape = declared[value.name]
        value.type, value.shape = value.type or of_type, value.shape or shape
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)  # type: ignore[no-untyped-call]
    common.RemoveUnusedOpsetsPass()(model)


@contextmanager
def _needed_identities_kept(model: ir.Model) -> Iterator[None]:
    """Hides identities without which an output would be missing: those by which a branch (of an If) gives something from outside,
    since the output has to be made inside, and those of a value that has the name of another output already."""
    hidden = []
    named: set[ir.Value] = set()
    for node in model.graph.all_nodes():
        if not _is_identity(node) or not node.outputs[0].is_graph_output() or node.inputs[0] is None:
            continue
        maker, origin = node.inputs[0].producer(), _origin(node.inputs[0])
        if maker is None or maker.graph is not node.graph or origin.is_graph_output() or origin in named:
            hidden.append(node)
        named.add(origin)
    for node in hidden:
        node.domain = "adaptrt.hidden"
    try:
        yield
    finally:
        for node in hidden:
            node.domain = ""


def _is_identity(node: ir.Node | None) -> bool:
    return node is not None and node.op_type == "Identity" and not node.domain


def _origin(value: ir.Value) -> ir.Value:
    """What a chain of identities starts from."""
    while (maker := value.producer()) is not None and _is_identity(maker) and maker.inputs[0] is not None:
        value = maker.inputs[0]
    return value


def make_gathers_positive(model: ir.Model) -> None:
    """Constant negative indices of Gather become positive ones: TensorRT has returned zeros for negative ones."""
    taken = {value.name for node in model.graph.all_nodes() for value in node.outputs} | set(model.graph.initializers)
    for node in model.graph.all_nodes():
        if node.op_type != "Gather":
            continue
        data, indices = node.inputs
        constant = ir.convenience.get_const_tensor(indices) if indices is not None else None
        if constant is None or data is None or data.shape is None or indices is None:
            continue
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        size = data.shape[axis]
        array = constant.numpy()
        if not isinstance(size, int) or not (array < 0).any():
            continue
        base = f"{node.name or 'gather'}_positive_indices"
        numbered = (f"{base}_{count}" for count in itertools.count(1))
        name = next(name for name in itertools.chain([base], numbered) if name not in taken)
        taken.add(name)
        positive = (array + (array < 0) * size).astype(array.dtype)
        node.replace_input_with(1, add_constant(model, name, positive))
    common.RemoveUnusedNodesPass()(model)


def infer_output_shapes(model: ir.Model) -> None:
    """Numbers for the axes of outputs that follow from the inputs; exporters leave generated symbols for them.

    Only the symbols of the inputs are kept as they are.
    """
    known = {str(size) for value in model.graph.inputs for size in value.shape or () if not isinstance(size, int)}
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = ir.Shape(
                [size if isinstance(size, int) or str(size) in known else None for size in value.shape]
            )
    common.ShapeInferencePass()(model)
    renamed: dict[str, str] = {}  # equal symbols stay equal
    for value in model.graph.outputs:
        sizes: list[int | str] = []
        for axis, size in enumerate(value.shape or ()):
            own = f"{value.name}_{axis}"
            if isinstance(size, int):
                sizes.append(size)
            elif size.value is None:
                sizes.append(own)
            else:
                sizes.append(size.value if size.value in known else renamed.setdefault(size.value, own))
        if value.shape is not None:
            value.shape = ir.Shape(sizes)


def name_nodes(model: ir.Model) -> None:
    """Names that stay the same from one conversion to the next: the module path where the exporter wrote it, a count."""
    seen: Counter[str] = Counter()
    for node in model.graph.all_nodes():
        scope = scope_of(node)
        base = f"{scope}/{node.op_type}" if scope else node.op_type
        node.name = f"{base}_{seen[base]}" if seen[base] else base
        seen[base] += 1
    common.TopologicalSortPass()(model)
    common.NameFixPass()(model)


def scope_of(node: ir.Node) -> str:
    """The module path of a node, parts separated by slashes: from the exporter's metadata, else from the name."""
    scopes = node.metadata_props.get(NAME_SCOPES)
    if scopes:
        parts = re.findall(r"'([^']*)'", scopes)
        return next((part for part in reversed(parts[:-1]) if part), "").replace(".", "/")
    name = (node.name or "").strip("/")
    return name.rpartition("/")[0] if "/" in name else ""
