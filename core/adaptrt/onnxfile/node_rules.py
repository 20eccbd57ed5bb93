"""Which nodes stay float32 in reduced precision: one rule for builder flags and for reduced-precision graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from adaptrt.errors import BuildError, UsageError
from adaptrt.onnxfile.reader import Node, OnnxFile
from adaptrt.specs import ModelSpec, Precision
from adaptrt.specs.build import compile_pattern

_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_SIZES = {"Shape", "Size"}  # their input is data, their output is not
_RANKS = {"ArgMax", "ArgMin", "NonMaxSuppression", "NonZero"}  # their output is a choice, and not computed
# the inputs that say where to read: RoIs in pixels with the index of their image, and indices
_POSITION_INPUTS = {
    "RoiAlign": (1, 2),
    **dict.fromkeys(("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND"), (1,)),
}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear"}

NMS_SCOPE = "adaptrt_nms/"
"""Names of the nodes of NMS inside the graph begin with this: all of them compute in float32, and so does NMS of the network itself, a
module of this name, which exporters number if it is called several times."""
_NMS = re.compile(r"(^|/)adaptrt_nms(_\d+)?/")

PREPROCESSING_SCOPE = "adaptrt_preprocessing/"
"""Names of the nodes of embedded preprocessing begin with this."""

# a convolution or product this small is arithmetic (an expected value, a matrix of coordinates), not a trained layer
ARITHMETIC_WEIGHTS = 32


def pixel_outputs(spec: ModelSpec | None) -> list[str]:
    """The outputs that hold pixel coordinates."""
    outputs = spec.outputs if spec else ()
    return [output.name for output in outputs if any(group.unit == "pixels" for group in output.groups)]


def decoding_nodes(nodes: Sequence[Node], outputs: Sequence[str], weights: Mapping[str, int]) -> list[str]:
    """Names of the nodes between the last trained layers and these outputs, in the order of the graph.

    From each output back to the nearest Conv, ConvTranspose, Gemm or MatMul, which is not included; one with at most
    ``ARITHMETIC_WEIGHTS`` constant weights is arithmetic and is included. Coordinates are computed there, and half
    precision has a spacing of half a pixel from 512 on. NMS inside the graph is included as a whole.
    """
    makers = {output: node for node in nodes for output in node.outputs}
    found: set[str] = set()
    nms = [output for node in nodes if in_nms(node.name) for output in node.outputs]
    todo = [name for name in (*outputs, *nms) if name in makers]
    while todo:
        node = makers[todo.pop()]
        if node.name in found or node.operator in _SIZES or _is_layer(node, weights):
            continue
        found.add(node.name)
        todo.extend(name for name in node.inputs if name in makers)
    return [node.name for node in nodes if node.name in found]


def in_nms(name: str) -> bool:
    """Whether a node of this name belongs to NMS inside the graph."""
    return _NMS.search(name) is not None


def coordinate_nodes(nodes: Sequence[Node], weights: Mapping[str, int]) -> list[str]:
    """Names of the nodes that compute where other nodes read, in the order of the graph; RoiAlign is included.

    RoIs, and indices that are computed from floats (sampling at a position, as in deformable attention), back to the last
    trained layers; and what is computed from these positions alone, such as the share of each neighbor. Half precision
    counts to 2048, and knows positions from 128 on to an eighth.
    """
    makers = {output: node for node in nodes if node.operator != "Constant" for output in node.outputs}
    found: set[str] = set()
    todo = [
        node.inputs[index]
        for node in nodes
        for index in _POSITION_INPUTS.get(node.operator, ())
        if index < len(node.inputs)
    ]
    while todo:
        name = todo.pop()
        node = makers.get(name)
        if (
            node is None
            or node.name in found
            or node.operator in _SIZES
            or _ranks(node, name)
            or _is_layer(node, weights)
        ):
            continue
        found.add(node.name)
        todo.extend(node.inputs)
    computed = {output for node in nodes if node.name in found for output in node.outputs}
    for node in nodes:
        given = [name for name in node.inputs if name in makers]
        read = node.operator in _POSITION_INPUTS and node.inputs[0] not in computed  # what is read there is no position
        if not given or read or not computed.issuperset(given) or node.operator in _SIZES or _is_layer(node, weights):
            continue
        found.add(node.name)
        computed.update(node.outputs)
    return [node.name for node in nodes if node.name in found or node.operator == "RoiAlign"]


def matching_nodes(nodes: Sequence[Node], patterns: Sequence[str], flag: str = "--keep-fp32") -> list[str]:
    """Names of the nodes that match a pattern of ``--keep-fp32``, or of another ``flag``; a pattern without a match is an error."""
    found: set[str] = set()
    for pattern in patterns:
        compiled = compile_pattern(pattern, flag)
        names = [node.name for node in nodes if compiled.search(node.name) or compiled.fullmatch(node.operator)]
        if not names:
            operators = sorted({node.operator for node in nodes})
            raise UsageError(
                f"{flag} {pattern!r} does not match any node.",
                hint=f"The pattern is searched in node names ({nodes[0].name if nodes else ''} ...) and matched against "
                f"operators ({', '.join(operators)}).",
            )
        found.update(names)
    return [node.name for node in nodes if node.name in found]


def kept_float32(file: OnnxFile, spec: ModelSpec | None, patterns: Sequence[str]) -> list[str]:
    """All nodes that stay float32 with builder flags: box decoding, coordinates, and those selected by the user."""
    kept = {
        *decoding_nodes(file.nodes, pixel_outputs(spec), file.weights),
        *coordinate_nodes(file.nodes, file.weights),
        *matching_nodes(file.nodes, patterns),
    }
    return [node.name for node in file.nodes if node.name in kept]


def require_quantized(file: OnnxFile, precision: Precision) -> None:
    """Reject a graph without Q/DQ nodes if the precision requires them."""
    if precision.form == "qdq" and not any(node.operator in _QUANTIZED for node in file.nodes):
        raise BuildError(
            f"--precision {precision.name} needs a graph with QuantizeLinear and DequantizeLinear nodes, but this one has none.",
            hint=f"Name images to quantize it with: --{precision.name} --calib FOLDER, a few hundred like those in use.",
        )


def _ranks(node: Node, output: str) -> bool:
    return node.operator in _RANKS or (node.operator == "TopK" and output == node.outputs[-1])


def _is_layer(node: Node, weights: Mapping[str, int]) -> bool:
    if node.operator not in _WEIGHTED or in_nms(node.name):
        return False
    constant = [weights[name] for name in node.inputs[:2] if name in weights]
    return not constant or max(constant) > ARITHMETIC_WEIGHTS
