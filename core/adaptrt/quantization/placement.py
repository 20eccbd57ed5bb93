"""Which layers compute in int8: convolutions and products with trained weights, except those that outputs come from.

Other operators are quantized only if they are named: products of two activations (attention), Softmax, normalizations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from adaptrt.graph.model_file import node_name, outline_nodes
from adaptrt.onnxfile.node_rules import (
    ARITHMETIC_WEIGHTS,
    coordinate_nodes,
    decoding_nodes,
    in_nms,
    matching_nodes,
    pixel_outputs,
)
from adaptrt.onnxfile.operators import STANDARD
from adaptrt.onnxfile.reader import Node
from adaptrt.specs import ModelSpec

_LAYERS = ("Conv", "Gemm", "MatMul")
# for the first convolution of the DETR fixture, TensorRT 8.6 has no int8 implementation; YOLOv5m takes 0.94 of the time of fp16
# either way (benchmarks/results/gpu_int8.json and gpu_int8_h100.json)
_FEW_CHANNELS = 4


@dataclass(frozen=True)
class Layer:
    """A layer to quantize: its ``activations`` by position (one scale each), and weights at position 1 if there is an
    ``axis``, that of their output channels (a scale for each)."""

    node: ir.Node
    axis: int | None
    positions: tuple[int, ...] = (0,)

    @property
    def activations(self) -> list[tuple[int, ir.Value]]:
        return [(position, _input(self.node, position)) for position in self.positions]

    @property
    def weight(self) -> ir.Value | None:
        return None if self.axis is None else _input(self.node, 1)


def _input(node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    assert value is not None
    return value


@dataclass
class Placement:
    """The layers to quantize, in the order of the graph; ``kept``: names of the other layers, by reason."""

    layers: list[Layer] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)

    @property
    def activations(self) -> list[str]:
        """Names of the values to measure: those that the layers read, and what is added to their outputs."""
        read = [value for layer in self.layers for _, value in layer.activations]
        added = [value for addition in additions(self.layers) for value in addition.inputs if value is not None]
        return list(dict.fromkeys(str(value.name) for value in (*read, *added)))

    @property
    def note(self) -> str:
        kept = ", ".join(f"{len(names)} {reason}" for reason, names in self.kept.items())
        return f"{len(self.layers)} layers in int8, float: {kept or 'none'}"

    def keep(self, layer: Layer, reason: str) -> None:
        """Leave a layer in float after all."""
        self.layers.remove(layer)
        self.kept.setdefault(reason, []).append(str(layer.node.name))


@dataclass(frozen=True, kw_only=True)
class LayerPatterns:
    """The user's choice of layers, as patterns like those of ``--keep-fp32``: those that stay float, and ``also``: further operators
    or nodes to quantize the inputs of."""

    keep_fp32: Sequence[str] = ()
    keep_fp16: Sequence[str] = ()
    also: Sequence[str] = ()


NO_PATTERNS = LayerPatterns()


def place(model: ir.Model, spec: ModelSpec | None, patterns: LayerPatterns = NO_PATTERNS) -> Placement:
    """Inputs of convolutions and of products with constant weights are quantized, outputs and biases are not. Residual
    additions follow their convolutions (``shortcut``).

    Float stay: convolutions of images, layers with no other layer behind them (output layers, whose error nothing averages out), box decoding, coordinates,
    arithmetic with few constants, products of two activations (attention), transposed convolutions, what the spec names
    (``float_nodes``), and what ``patterns`` name.
    """
    outline = outline_nodes(model.graph)
    weights = {
        name: int(value.const_value.size)
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    decoding = set(decoding_nodes(outline, pixel_outputs(spec), weights))
    decoding.update(coordinate_nodes(outline, weights))
    asked = {
        *matching_nodes(outline, patterns.keep_fp32),
        *matching_nodes(outline, patterns.keep_fp16, "--keep-fp16"),
    }
    more = set(matching_nodes(outline, patterns.also, "--quantize-also"))
    hinted = _hinted(outline, spec)
    last = output_layers(outline, weights)
    placement = Placement()
    for node, known in zip(model.graph, outline, strict=True):
        if node.domain not in STANDARD:
            continue
        axis = _channel_axis(node) if node.op_type in _LAYERS else None
        positions = _activations(node) if axis is None and known.name in more else (0,)
        if node.op_type not in (*_LAYERS, "ConvTranspose") and (known.name not in more or not positions):
            continue
        further = axis is None and known.name in more and bool(positions)
        reason = None
        if known.name in asked:
            reason = "requested"
        elif known.name in hinted:
            reason = "named by the spec"
        elif known.name in decoding or in_nms(known.name):
            reason = "decoding"
        elif further:
            reason = None
        elif axis is None:
            reason = "no int8 form"
        elif weights[str(node.inputs[1].name)] <= ARITHMETIC_WEIGHTS:  # type: ignore[union-attr]
            reason = "arithmetic"
        elif known.name in last:
            reason = "output layers"
        elif _reads_image(node) and known.name not in more:
            reason = "image layers"
        if reason is None:
            placement.layers.append(Layer(node, axis, positions))
        else:
            placement.kept.setdefault(reason, []).append(known.name)
    return placement


def additions(layers: Sequence[Layer]) -> list[ir.Node]:
    """The additions that TensorRT computes in one of these convolutions, as its epilogue: of its output, which nothing else
    reads, and another activation."""
    found: dict[int, ir.Node] = {}
    for layer in layers:
        if layer.node.op_type != "Conv":
            continue
        uses = list(layer.node.outputs[0].uses())
        if len(uses) == 1 and is_residual(uses[0][0]):
            found[id(uses[0][0])] = uses[0][0]
    return list(found.values())


def is_residual(node: ir.Node) -> bool:
    """Whether it adds two activations."""
    first, *others = node.inputs
    return (
        node.op_type == "Add"
        and node.domain in STANDARD
        and all(value is not None and not value.is_initializer() for value in node.inputs)
        and first not in others
    )


def shortcut(addition: ir.Node, layers: Sequence[Layer]) -> int | None:
    """The input of an addition to quantize, so that the convolution that computes it reads int8 alone; ``None`` if one of
    them is int8 already.

    Where both are outputs of such convolutions, it is the second: that of the branch around a block, as PyTorch adds it.
    TensorRT 8.6 does not build an int8 convolution with a float addend where layers are constrained to a precision.
    """
    convolutions = {id(layer.node) for layer in layers if layer.node.op_type == "Conv"}
    read = {str(_input(layer.node, 0).name) for layer in layers if layer.node.op_type == "Conv"}
    if any(value is not None and value.name in read for value in addition.inputs):
        return None
    first, second = (value is not None and id(value.producer()) in convolutions for value in addition.inputs)
    return 1 if first else 0 if second else None


def output_layers(nodes: Sequence[Node], weights: Mapping[str, int]) -> set[str]:
    """Names of the layers with trained weights that no other such layer comes after."""
    before_layer: set[str] = set()  # values that some layer depends on
    found = set()
    for node in reversed(nodes):
        leads = any(name in before_layer for name in node.outputs)
        trained = node.operator in (*_LAYERS, "ConvTranspose") and any(
            weights.get(name, 0) > ARITHMETIC_WEIGHTS for name in node.inputs[:2]
        )
        if trained and not leads:
            found.add(node.name)
        if trained or leads:
            before_layer.update(node.inputs)
    return found


def products(model: ir.Model) -> list[str]:
    """Names of the products of two activations."""
    return [
        node_name(node)
        for node in model.graph
        if node.op_type == "MatMul" and node.domain in STANDARD and _activations(node) == (0, 1)
    ]


def _activations(node: ir.Node) -> tuple[int, ...]:
    """The positions of the inputs of an operator without a separate int8 form that can be quantized: both of a product
    or a sum, else the first. Constants are not."""
    count = 2 if node.op_type in ("MatMul", "Add", "Mul", "Sub") else 1
    return tuple(
        position
        for position, value in enumerate(node.inputs[:count])
        if value is not None
        and not value.is_initializer()
        and value.dtype in (None, ir.DataType.FLOAT)
        and node.op_type not in ("Constant", "ConstantOfShape", "Shape", "Cast")
    )


def _reads_image(node: ir.Node) -> bool:
    """Whether a convolution has few input channels; those with a group for each channel (depthwise) are others."""
    weight = node.inputs[1] if node.op_type == "Conv" else None
    return weight is not None and node.attributes.get_int("group", 1) == 1 and int(weight.shape[1]) <= _FEW_CHANNELS  # type: ignore[index, arg-type]


def _hinted(nodes: Sequence[Node], spec: ModelSpec | None) -> set[str]:
    patterns = [re.compile(pattern) for pattern in (spec.float_nodes if spec else ())]
    return {node.name for node in nodes if any(pattern.search(node.name) for pattern in patterns)}


def _channel_axis(node: ir.Node) -> int | None:
    """The axis of the output channels of the weights; ``None`` if the layer has no int8 form here."""
    if len(node.inputs) < 2 or node.inputs[0] is None or node.inputs[1] is None:
        return None
    activation, weight = node.inputs[0], node.inputs[1]
    if not weight.is_initializer() or weight.const_value is None or weight.dtype != ir.DataType.FLOAT:
        return None
    if activation.is_initializer() or activation.dtype not in (None, ir.DataType.FLOAT):
        return None
    rank = len(weight.const_value.shape)
    if node.op_type == "Conv":
        return 0
    if rank != 2:  # products of stacked matrices have no channel axis that runtimes agree on
        return None
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return 1 if node.op_type == "MatMul" else None
