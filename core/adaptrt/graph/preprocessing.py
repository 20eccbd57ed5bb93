"""Preprocessing inside the graph: from pixels, uint8 [N, h, w, C] RGB, to the values that the network takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from adaptrt.errors import GraphError
from adaptrt.graph.node_writer import NodeWriter
from adaptrt.onnxfile.node_rules import PREPROCESSING_SCOPE
from adaptrt.specs import METADATA_KEY, ModelSpec
from adaptrt.vision.transforms import channel_values, divisor_of, swaps_channels

if TYPE_CHECKING:
    from adaptrt.specs import ImageTransform


def embed_preprocessing(model: onnx.ModelProto, destination: Path, spec: ModelSpec) -> None:
    """Replace the image input of the graph, float32 [N, C, h, w], by pixels, and write it.

    ``spec`` is that of the new graph: its image is ``embedded``. Every step rounds to float32 as ``normalize_pixels`` does.
    """
    assert spec.image is not None
    name = spec.image.input
    graph = model.graph
    given = next((value for value in graph.input if value.name == name), None)
    if given is None or given.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise GraphError(f"Preprocessing cannot be embedded: the graph has no float32 input {name!r}.")
    axes = [_size(dim) for dim in given.type.tensor_type.shape.dim]
    normalized = f"{PREPROCESSING_SCOPE}{name}"
    _rename(graph, name, normalized)
    nodes = list(graph.node)
    del graph.node[:]
    writer = NodeWriter(model, PREPROCESSING_SCOPE)
    _normalize(writer, spec.image, name, spec.image_channels)
    graph.node[-1].output[0] = normalized
    graph.node.extend(nodes)
    pixels = helper.make_tensor_value_info(name, TensorProto.UINT8, [axes[0], axes[2], axes[3], axes[1]])
    given.CopyFrom(pixels)
    others = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    helper.set_model_props(model, {**others, METADATA_KEY: spec.to_json()})
    onnx.save(model, str(destination))


def preprocessing_alone(transform: ImageTransform, channels: int) -> onnx.ModelProto:
    """Only preprocessing, as a model from ``pixels`` to ``values``: to be compared with ``normalize_pixels``."""
    given = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", "h", "w", channels])
    found = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", channels, "h", "w"])
    model = helper.make_model(
        helper.make_graph([], "preprocessing", [given], [found]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    _normalize(NodeWriter(model, PREPROCESSING_SCOPE), transform, "pixels", channels)
    model.graph.node[-1].output[0] = "values"
    return model


def _normalize(writer: NodeWriter, transform: ImageTransform, pixels: str, channels: int) -> None:
    """uint8 [N, h, w, C] RGB to float32 [N, C, h, w], in the order and with the roundings of ``normalize_pixels``; the last node
    returns it."""
    values = writer.op("Cast", pixels, to=TensorProto.FLOAT)  # the only operator on uint8 that TensorRT has
    values = writer.op("Transpose", values, perm=[0, 3, 1, 2])
    if swaps_channels(transform, channels):
        values = writer.op("Gather", values, writer.integers(range(channels)[::-1]), axis=1)
    divisor = divisor_of(transform.scale)
    if divisor is not None and divisor != 1:
        values = writer.op("Div", values, writer.number(divisor))
    elif divisor is None:
        values = writer.op("Mul", values, writer.number(transform.scale))
    mean, std = (
        np.array(channel_values(one, channels, name), np.float32).reshape(1, -1, 1, 1)
        for one, name in ((transform.mean, "mean"), (transform.std, "std"))
    )
    if mean.any():
        values = writer.op("Sub", values, writer.constant(mean))
    if (std != 1).any():
        writer.op("Div", values, writer.constant(std))


def _rename(graph: onnx.GraphProto, name: str, new: str) -> None:
    """Let every use of a value, also inside If and Loop, use another one."""
    if any(value.name == name for value in graph.output):
        raise GraphError(f"Preprocessing cannot be embedded: the graph returns its input {name!r} unchanged.")
    for node in _nodes(graph):
        for index, used in enumerate(node.input):
            if used == name:
                node.input[index] = new
    for inner in _subgraphs(graph.node):
        for value in inner.output:
            if value.name == name:
                value.name = new


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    yield from graph.node
    for inner in _subgraphs(graph.node):
        yield from inner.node


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> Iterable[onnx.GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield inner
                yield from _subgraphs(inner.node)


def _size(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    return dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
