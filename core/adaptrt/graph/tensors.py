"""The tensors inside a graph: which node makes each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import UsageError, did_you_mean, in_shell
from adaptrt.graph.lint.source_locations import source_location_of
from adaptrt.graph.model_file import node_name, write_model
from adaptrt.graph.passes.clean import scope_of
from adaptrt.onnxfile.operators import operator_name
from adaptrt.report import SourceLocation
from adaptrt.specs import METADATA_KEY

# nodes that a precision adds: the same tensor in another type
TYPES_ONLY = frozenset({"Cast", "QuantizeLinear", "DequantizeLinear"})


@dataclass(frozen=True)
class GraphTensor:
    """A tensor that a node makes. ``module`` is the path of the module, ``sources`` are the tensors it is computed from.

    ``dtype`` is a numpy name, empty if unknown; ``output`` is its index among the outputs of the node.
    """

    name: str
    operator: str = ""
    node: str = ""
    module: str = ""
    source: SourceLocation | None = None
    sources: tuple[str, ...] = ()
    dtype: str = ""
    output: int = 0

    @property
    def computes(self) -> bool:
        """Whether the node computes, rather than changes a type."""
        return self.operator not in TYPES_ONLY


def graph_tensors(model: ir.Model) -> list[GraphTensor]:
    """The tensors of the main graph that depend on an input, in the order of the graph. The types are inferred in place."""
    common.ShapeInferencePass()(model)
    wrapped = METADATA_KEY in model.metadata_props  # adaptrt exports a model inside another module
    known = {str(value.name) for value in model.graph.inputs if value.name not in model.graph.initializers}
    found = []
    for node in model.graph:
        sources = tuple(dict.fromkeys(name for name in _read(node) if name in known))
        if not sources:
            continue
        for output, value in enumerate(node.outputs):
            if not value.name:
                continue
            known.add(value.name)
            found.append(
                GraphTensor(
                    value.name,
                    operator_name(node.domain, node.op_type),
                    node_name(node),
                    module_of(node, wrapped=wrapped),
                    source_location_of(node),
                    sources,
                    _dtype(value),
                    output,
                )
            )
    return found


def _dtype(value: ir.Value) -> str:
    if value.dtype is None or value.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        return ""
    return str(value.dtype.numpy().name)


def _read(node: ir.Node) -> list[str]:
    """The names of everything that a node reads, also inside its branches."""
    inside = [
        str(value.name)
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for graph in ([attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs())
        for one in graph.all_nodes()
        for value in one.inputs
        if value is not None
    ]
    return [*(str(value.name) for value in node.inputs if value is not None), *inside]


def module_of(node: ir.Node, *, wrapped: bool) -> str:
    """The path of a node's module, as ``named_modules`` writes it; ``wrapped``: without the module around the model."""
    parts: list[str] = []
    for part in scope_of(node).split("/"):
        if parts and part.startswith(f"{parts[-1]}."):  # TorchScript repeats the name of a container
            parts.pop()
        parts.append(part)
    path = ".".join(part for part in parts if part)
    return path.removeprefix("model").removeprefix(".") if wrapped and path.split(".")[0] == "model" else path


def with_outputs(model: ir.Model, names: Sequence[str], path: Path) -> Path:
    """Write a copy of the graph whose outputs are these tensors, in this order."""
    copy: ir.Model = model.clone()
    values = {str(value.name): value for value in copy.graph.outputs}
    values |= {str(value.name): value for node in copy.graph for value in node.outputs}
    copy.graph.outputs[:] = [values[name] for name in names]
    common.RemoveUnusedNodesPass()(copy)
    copy.metadata_props.pop(METADATA_KEY, None)  # the spec describes the old outputs
    write_model(copy, path)
    return path


def require_tensors(wanted: Iterable[str], tensors: Sequence[GraphTensor], file: str) -> list[str]:
    """The names of tensors of the graph; a node's name or a module's path stands for what it makes last."""
    named: dict[str, str] = {}
    for tensor in tensors:
        parts = tensor.module.split(".") if tensor.module else []
        if tensor.computes:
            named.update({".".join(parts[:depth]): tensor.name for depth in range(1, len(parts) + 1)})
    named.update(module_tensors(tensors, ()))
    for tensor in tensors:
        named[tensor.node] = tensor.name
    named.update({tensor.name: tensor.name for tensor in tensors})
    found = []
    for name in wanted:
        if name not in named:
            raise UsageError(
                f"{file} has no tensor, node or module {name!r}.",
                hint=f"{did_you_mean(name, list(named))} To list them: adaptrt inspect {in_shell(file)} --graph",
            )
        found.append(named[name])
    return list(dict.fromkeys(found))


def module_tensors(tensors: Sequence[GraphTensor], outputs: Iterable[str]) -> Mapping[str, str]:
    """The tensor that leaves each module, by the path of the module; only of modules that a single tensor leaves.

    If it leaves in another type, it is the one that the module computes.
    """
    ends = set(outputs)
    by_name = {tensor.name: tensor for tensor in tensors}
    readers: dict[str, list[GraphTensor]] = {}
    for tensor in tensors:
        for name in tensor.sources:
            readers.setdefault(name, []).append(tensor)
    leaving: dict[str, dict[str, None]] = {}
    for tensor in tensors:
        parts = tensor.module.split(".") if tensor.module else []
        for depth in range(len(parts), 0, -1):
            path = ".".join(parts[:depth])
            outside = any(
                not (reader.module == path or reader.module.startswith(f"{path}."))
                for reader in readers.get(tensor.name, ())
            )
            if tensor.name in ends or outside:
                leaving.setdefault(path, {})[_computed(tensor, by_name).name] = None
    return {path: next(iter(names)) for path, names in leaving.items() if len(names) == 1}


def _computed(tensor: GraphTensor, tensors: Mapping[str, GraphTensor]) -> GraphTensor:
    """The tensor before the changes of its type, as far as they are in its module."""
    while not tensor.computes:
        before = tensors.get(tensor.sources[0])
        if before is None or before.module != tensor.module:
            break
        tensor = before
    return tensor
