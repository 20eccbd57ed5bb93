"""Read, check, complete and write ONNX files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.errors import ExportError, GraphError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.operators import operator_name
from adaptrt.onnxfile.reader import Node, copy_links
from adaptrt.specs import METADATA_KEY, ModelSpec, OutputSpec
from adaptrt.store.model_files import not_onnx

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_model(path: Path) -> ir.Model:
    """The model with its weights in memory."""
    try:
        proto = onnx.load(str(path))
        require_order(proto.graph, path.name)
        return ir.from_proto(proto)
    except GraphError:
        raise
    except Exception as error:
        if "symbolic link" in str(error):
            raise GraphError(
                f"{path.name} stores weights behind a symbolic link, which the package onnx does not follow.",
                hint=copy_links(path),
            ) from error
        # protobuf describes its wire format, which does not help users
        detail = "" if type(error).__name__ == "DecodeError" else f"{type(error).__name__}: {error}"
        raise not_onnx(path, detail) from error


def graph_of(path: Path, files: OnnxFiles) -> ir.Model:
    """A copy of the graph in a file, which the caller may change; its weights are shared with the copies of others.

    The file is read unless an earlier stage has read or written it.
    """
    held = files.held(path)
    if held is None:
        held = read_model(path)
        files.hold(path, held)
    copy: ir.Model = held.clone()
    return copy


def require_order(graph: onnx.GraphProto, file: str, outer: frozenset[str] = frozenset()) -> None:
    """Reject a graph whose nodes cannot be ordered: one with an undefined value, or with a cycle."""
    given = {value.name for value in graph.input} | {value.name for value in graph.initializer}
    given |= {value.values.name for value in graph.sparse_initializer} | {""}
    made = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    readers: dict[int, list[int]] = {}
    waiting = []
    known = outer | given
    for index, node in enumerate(graph.node):
        unknown = next((name for name in node.input if not (name in made or name in known)), None)
        if unknown is not None:
            raise GraphError(f"{file}: node {node.name!r} has an undefined input {unknown!r}.", hint=_REPAIR)
        makers = {made[name] for name in node.input if name in made and name not in given}
        waiting.append(len(makers))
        for maker in makers:
            readers.setdefault(maker, []).append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    for index in ready:  # grows while it is walked
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) < len(waiting):
        stuck = next(node for node, count in zip(graph.node, waiting, strict=True) if count)
        raise GraphError(f"{file}: the graph has a cycle through node {stuck.name!r}.", hint=_REPAIR)
    missing = next((value.name for value in graph.output if not (value.name in made or value.name in known)), None)
    if missing is not None:
        raise GraphError(f"{file}: graph output {missing!r} is undefined.", hint=_REPAIR)
    inside = known | made.keys()
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                require_order(inner, file, inside)


_REPAIR = "Check that the file is complete, or convert the model again."


def check_model(model: ir.Model) -> None:
    """onnx's own checker, with full shape inference and without copying large weights; raises what it raises."""
    common.CheckerPass(full_check=True)(model)


def write_model(model: ir.Model, path: Path, spec: ModelSpec | None = None) -> None:
    """Write the model, with the spec and its metadata in ``metadata_props``."""
    if spec is not None:
        model.metadata_props.clear()
        model.metadata_props.update({**spec.metadata, METADATA_KEY: spec.to_json()})
        model.producer_name, model.producer_version = "adaptrt", metadata.version("adaptrt")
    onnx.save(ir.to_proto(model), str(path))


def count_operators(model: ir.Model) -> dict[str, int]:
    """How often each operator occurs, most frequent first; nodes of sub-graphs included."""
    counts = Counter(operator_name(node.domain, node.op_type) for node in model.graph.all_nodes())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def signature(model: ir.Model) -> tuple[list[str | None], list[str | None]]:
    """The names of inputs and outputs, in order."""
    return [value.name for value in model.graph.inputs], [value.name for value in model.graph.outputs]


def add_constant(model: ir.Model, name: str, array: NDArray[Any]) -> ir.Value:
    """Add an initializer."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    model.graph.register_initializer(value)
    return value


def require_symbolic_axes(model: ir.Model, spec: ModelSpec) -> None:
    """Check that every requested dynamic axis is symbolic in the file, and every other axis has the requested size.

    Exporters can silently specialize a dynamic axis to the size of the example input.
    """
    inputs = {value.name: value for value in model.graph.inputs}
    for tensor in spec.inputs:
        value = inputs.get(tensor.name)
        if value is None or value.shape is None:
            raise ExportError(
                f"The exported graph has no input {tensor.name!r} (it has {', '.join(map(str, inputs))}).",
                hint="The model does not use this input. Remove it from the spec.",
            )
        if len(value.shape) != len(tensor.dims):
            raise ExportError(
                f"Input {tensor.name!r} has {len(tensor.dims)} axes in the spec and {len(value.shape)} in the graph.",
                hint="The exporter changed this input. Its name and version are in the report.",
            )
        for axis, (size, dim) in enumerate(zip(value.shape, tensor.dims, strict=True)):
            if dim.dynamic and isinstance(size, int):
                raise ExportError(
                    f"Axis {axis} of input {tensor.name!r} was requested as dynamic ({dim}), but the exporter fixed it at {size}.",
                    hint="The model reads this size as a Python number. Patch that code, or request a fixed axis.",
                )
            if not dim.dynamic and size != dim.opt:
                found = size if isinstance(size, int) else "dynamic"
                raise ExportError(
                    f"Axis {axis} of input {tensor.name!r} is fixed at {dim.opt} in the spec but is {found} in the graph.",
                    hint="Request this size with --shape.",
                )


def complete_outputs(model: ir.Model, spec: ModelSpec) -> tuple[OutputSpec, ...]:
    """The outputs of the spec with the axes and types of the graph, symbols by name."""
    wanted, given = [output.name for output in spec.outputs], signature(model)[1]
    if wanted != given:
        raise ExportError(
            f"The outputs of the graph ({', '.join(map(str, given))}) differ from those of the spec ({', '.join(wanted)}).",
            hint="The export_onnx hook must use the output names of the spec, in the same order.",
        )
    outputs = []
    for output, value in zip(spec.outputs, model.graph.outputs, strict=True):
        dims: tuple[int | str, ...] = ()
        if value.shape is not None:
            dims = tuple(
                size if isinstance(size, int) else str(size.value or f"{output.name}_{axis}")
                for axis, size in enumerate(value.shape)
            )
        dtype = value.dtype.numpy().name if value.dtype is not None else output.dtype
        outputs.append(OutputSpec(output.name, dims, dtype, output.groups))
    return tuple(outputs)


def node_name(node: ir.Node) -> str:
    """The name of a node; one without a name is called after its first output."""
    return node.name or f"node_of_{node.outputs[0].name if node.outputs else ''}"


def outline_nodes(nodes: Iterable[ir.Node]) -> list[Node]:
    """The nodes in the form that the rules about float32 are written for."""
    return [
        Node(
            node_name(node),
            operator_name(node.domain, node.op_type),
            tuple(value.name or "" if value is not None else "" for value in node.inputs),
            tuple(value.name or "" for value in node.outputs),
        )
        for node in nodes
    ]
