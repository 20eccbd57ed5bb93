"""Describes any ONNX file, whether written by adaptrt or not."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adaptrt.errors import DependencyError, GraphError, ModelError
from adaptrt.onnxfile.operators import STANDARD, operator_name
from adaptrt.onnxfile.reader import external_names
from adaptrt.quantities import file_size
from adaptrt.specs import METADATA_KEY, ModelSpec
from adaptrt.specs.descriptions import Description, Node, Tensor


def describe(path: Path) -> Description:
    """Describe the file; external weights are not read."""
    try:
        import onnx
    except ImportError as error:
        raise DependencyError(f"Inspecting ONNX files requires onnx: {error}.", hint="pip install onnx") from error
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise _unreadable(path) from error
    if not model.graph.node and not model.graph.output:
        raise _unreadable(path)
    nodes = list(_all_nodes(model.graph))
    if any(isinstance(text, bytes) for text in _texts(model, nodes)):  # protobuf's form of text that is not UTF-8
        raise _unreadable(path)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    outline = [
        Node(node.name, operator_name(node.domain, node.op_type), tuple(node.input), tuple(node.output))
        for node in nodes
    ]
    description = Description(
        path=str(path),
        kind="ONNX",
        bytes=path.stat().st_size,
        facts=_facts(model, path, len(nodes)),
        inputs=[_tensor(value) for value in model.graph.input if value.name not in _weight_names(model)],
        outputs=[_tensor(value) for value in model.graph.output],
        operators=dict(
            sorted(Counter(node.operator for node in outline).items(), key=lambda item: (-item[1], item[0])),
        ),
        metadata={key: value for key, value in metadata.items() if key != METADATA_KEY},
        nodes=outline,
    )
    if METADATA_KEY in metadata:
        try:
            description.spec = ModelSpec.from_json(metadata[METADATA_KEY])
        except ModelError as error:
            description.warnings.append(f"{error.message} {error.hint or ''}".strip())
    return description


def _texts(model: Any, nodes: list[Any]) -> Iterator[Any]:
    """Every name and entry that is shown."""
    yield from (model.producer_name, model.producer_version)
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for value in (*model.graph.input, *model.graph.output):
        yield value.name
        yield from (axis.dim_param for axis in value.type.tensor_type.shape.dim)
    for weight in model.graph.initializer:
        yield weight.name
        yield from (entry.value for entry in weight.external_data)
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)


def _unreadable(path: Path) -> GraphError:
    return GraphError(
        f"{path.name} is not a readable ONNX file.", hint="The file may be incomplete; convert the model again."
    )


def _facts(model: Any, path: Path, nodes: int) -> dict[str, str]:
    opsets = ", ".join(
        str(entry.version) if entry.domain in STANDARD else f"{entry.domain} {entry.version}"
        for entry in model.opset_import
    )
    weights = list(model.graph.initializer)
    facts = {
        "producer": f"{model.producer_name} {model.producer_version}".strip() or "not named",
        "opset": opsets,
        "IR version": str(model.ir_version),
        "nodes": str(nodes),
        "weights": f"{sum(math.prod(weight.dims) for weight in weights):,} values in {len(weights)} tensors",
    }
    outside = sorted(external_names(path))
    if outside:
        facts["weights in"] = ", ".join(f"{name} ({_size(path.parent / name)})" for name in outside)
    return facts


def _size(file: Path) -> str:
    return file_size(file.stat().st_size) if file.is_file() else "missing"


def _all_nodes(graph: Any) -> Iterator[Any]:
    """The nodes of a graph and of its subgraphs (If, Loop, Scan)."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                yield from _all_nodes(inner)


def _weight_names(model: Any) -> set[str]:
    return {weight.name for weight in model.graph.initializer}


def _tensor(value: Any) -> Tensor:
    import onnx

    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return Tensor(value.name, value.type.WhichOneof("value") or "unknown", None)
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    except (KeyError, ValueError, TypeError):
        known = tensor.elem_type in onnx.TensorProto.DataType.values()
        dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower() if known else f"type {tensor.elem_type}"
    if not tensor.HasField("shape"):
        return Tensor(value.name, dtype, None)
    axes = tensor.shape.dim
    return Tensor(
        value.name,
        dtype,
        tuple(axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?" for axis in axes),
    )
