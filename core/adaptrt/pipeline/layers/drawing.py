"""The graph of a file as blocks of modules, with what each computes in, how long it takes, or how much it differs."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import ModelError, UsageError, in_shell
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.layers.request import InputRequest
from adaptrt.pipeline.layers.samples import input_samples, renamed, spec_for
from adaptrt.pipeline.layers.subjects import open_file
from adaptrt.report import SourceLocation
from adaptrt.specs.backend_calls import open_runner
from adaptrt.specs.backend_parts import ShowsLayers
from adaptrt.specs.backends import OpenOptions, fitting_options
from adaptrt.specs.runners import TimesLayers
from adaptrt.store.model_files import require_backend, require_model_file

if TYPE_CHECKING:
    from adaptrt.graph.tensors import GraphTensor
    from adaptrt.pipeline.layers.records import PairComparison, TensorRow
    from adaptrt.pipeline.layers.subjects import GraphSubject

PRECISION, TIME, ERROR = "precision", "time", "error"
_FLOATS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_QUANTIZED = {"uint8": "int8", "uint4": "int4", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8"}
_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_SEPARATORS = re.compile(r"[\s,;+|(){}\[\]]+")  # between the names of nodes in the name of a layer


@dataclass(frozen=True, kw_only=True)
class DrawingRequest:
    """``color``: ``precision``, ``time`` or ``error``. ``most``: about how many blocks. ``comparison``: a file of
    ``adaptrt compare --json``, for ``error``; ``runs``: how often the file runs, for ``time``."""

    file: Path
    color: str = PRECISION
    most: int = 32
    comparison: Path | None = None
    runs: int = 10
    inputs: InputRequest = field(default_factory=InputRequest)
    onnx: Path | None = None
    options: OpenOptions = field(default_factory=OpenOptions)

    def __post_init__(self) -> None:
        if (self.color == ERROR) != (self.comparison is not None):
            raise UsageError(
                "--color error requires a comparison."
                if self.color == ERROR
                else "--comparison requires --color error.",
                hint="Save one: adaptrt compare A B --json > layers.json; then --color error --comparison layers.json",
            )


@dataclass
class DrawnNode:
    """A node; ``precision`` is empty if it does not compute in floats or the layer is not shown. ``seconds``: its share
    of the time of its layer; ``row``: the tensor it makes, compared."""

    name: str
    operator: str
    source: SourceLocation | None = None
    precision: str = ""
    seconds: float = 0.0
    row: TensorRow | None = None


@dataclass
class DrawnBlock:
    """The nodes of a module, or a part of them. ``kind``: ``module``, ``input`` or ``output``."""

    title: str
    kind: str = "module"
    nodes: list[DrawnNode] = field(default_factory=list)

    @property
    def precisions(self) -> dict[str, int]:
        """How many nodes compute in each precision, the most frequent first."""
        return dict(Counter(node.precision for node in self.nodes if node.precision).most_common())

    @property
    def precision(self) -> str:
        """That of most of its convolutions and products, if it has any: they take the time."""
        products = Counter(node.precision for node in self.nodes if node.operator in _PRODUCTS and node.precision)
        return next((name for name, _ in products.most_common(1)), next(iter(self.precisions), ""))

    @property
    def seconds(self) -> float:
        return sum(node.seconds for node in self.nodes)

    @property
    def worst(self) -> TensorRow | None:
        """The compared tensor that uses the largest share of its limit."""
        return max((node.row for node in self.nodes if node.row is not None), key=lambda row: row.used, default=None)

    @property
    def operators(self) -> dict[str, int]:
        return dict(Counter(node.operator for node in self.nodes).most_common())


@dataclass
class Drawing:
    """``edges``: pairs of indices of ``blocks``. ``elsewhere``: seconds of layers that belong to no node of the graph."""

    title: str
    color: str
    blocks: list[DrawnBlock]
    edges: list[tuple[int, int]]
    elsewhere: float = 0.0
    reference: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(block.seconds for block in self.blocks) + self.elsewhere


def draw_graph(request: DrawingRequest) -> Drawing:
    """A ``UsageError`` says what is missing: the ONNX file of an engine, a GPU to time it on, a matching comparison."""
    require_model_file(request.file)
    backend = require_backend(request.file)
    with tempfile.TemporaryDirectory(prefix="adaptrt-drawing-") as folder:
        subject = open_file(request.file, backend, request.options, Path(folder), OnnxFiles(), request.onnx)
        with closing(subject):
            drawing, nodes = _blocks_of(subject, request)
            if request.color == PRECISION:
                shown = backend.layers_of(request.file) if isinstance(backend, ShowsLayers) else None
                if shown is not None:
                    _take_layers(nodes, shown, drawing)
            elif request.color == TIME:
                _take_times(nodes, subject, request, drawing)
            elif request.comparison is not None:
                _take_rows(nodes, subject, request.comparison, drawing)
    return drawing


def _blocks_of(subject: GraphSubject, request: DrawingRequest) -> tuple[Drawing, dict[str, DrawnNode]]:
    """The drawing without its colors, and its nodes in the order of the graph."""
    from adaptrt.graph.grouping import collapse

    tensors = subject.tensors
    first: dict[str, GraphTensor] = {}  # of each node
    maker: dict[str, str] = {}
    for tensor in tensors:
        first.setdefault(tensor.node, tensor)
        maker[tensor.name] = tensor.node
    order = {node: index for index, node in enumerate(first)}
    reads = [
        [order[maker[name]] for name in tensor.sources if name in maker and order[maker[name]] < order[node]]
        for node, tensor in first.items()
    ]
    blocks, edges = collapse(_titles(list(first.values()), request.most), reads)
    names = list(first)
    block_of = {names[node]: index for index, block in enumerate(blocks) for node in block.nodes}
    by_name = {tensor.name: tensor for tensor in tensors}
    nodes = {name: _node(tensor, by_name) for name, tensor in first.items()}
    drawn = [DrawnBlock(block.title, nodes=[nodes[names[index]] for index in block.nodes]) for block in blocks]
    for name in subject.inputs:
        edges += sorted({(len(drawn), block_of[one.node]) for one in tensors if name in one.sources})
        drawn.append(DrawnBlock(name, "input"))
    for name in subject.outputs:
        if name in maker:
            edges.append((block_of[maker[name]], len(drawn)))
        drawn.append(DrawnBlock(name, "output"))
    return Drawing(subject.title, request.color, drawn, edges), nodes


def _titles(tensors: Sequence[GraphTensor], most: int) -> list[str]:
    """The block of each node: its module, or one that contains it; parts of a graph without modules are runs of nodes."""
    from adaptrt.graph.grouping import grouped

    modules = list(dict.fromkeys(tensor.module for tensor in tensors))
    if not any(modules):
        runs = grouped([tensor.node for tensor in tensors], most)
        return [title for title, names in runs.items() for _ in names]
    module_of: dict[str, str] = {}  # of the tensor's reader, for nodes that a precision added
    for tensor in reversed(tensors):
        module = tensor.module or (module_of.get(tensor.name, "") if not tensor.computes else "")
        module_of |= dict.fromkeys((*tensor.sources, tensor.node), module)
    paths = [module_of[tensor.node].replace(".", "/") for tensor in tensors]
    wrapper = next((path.split("/")[0] for path in paths if path), "")  # around the whole model: says nothing
    if all(path.startswith(f"{wrapper}/") for path in paths if path):
        paths = [path.partition("/")[2] for path in paths]
    title_of = {path: title.replace("/", ".") for title, names in grouped(paths, most).items() for path in names}
    return [title_of[path] or "model" for path in paths]


def _node(tensor: GraphTensor, tensors: Mapping[str, GraphTensor]) -> DrawnNode:
    """The precision is that of its inputs in the graph: a layer that reads dequantized values computes in the type that they had."""
    precision = _FLOATS.get(tensor.dtype, "")
    read = [tensors[name] for name in tensor.sources if name in tensors]
    dequantized = [
        name for one in read if one.operator == "DequantizeLinear" for name in one.sources if name in tensors
    ]
    if not tensor.computes:
        precision = ""
    elif dequantized:
        dtype = tensors[dequantized[0]].dtype
        precision = _QUANTIZED.get(dtype, dtype)
    elif not precision and any(one.dtype in _FLOATS for one in read):  # such as ArgMax
        precision = next(_FLOATS[one.dtype] for one in read if one.dtype in _FLOATS)
    return DrawnNode(tensor.node, tensor.operator, tensor.source, precision)


class _Nodes:
    """Finds the nodes that a layer computes by its name."""

    def __init__(self, nodes: Mapping[str, DrawnNode]) -> None:
        self.all = list(nodes.values())
        self._index = {name.strip("/"): index for index, name in enumerate(nodes)}

    def of(self, layer: str) -> list[DrawnNode]:
        """All that the name lists; ``first...last`` stands for all nodes from one to the other.

        ONNX Runtime calls what it fuses or reorders after a node, with an ending.
        """
        indices: dict[int, None] = {}
        for word in _SEPARATORS.split(layer):
            start, dots, end = (part.strip("/") for part in word.partition("..."))
            if dots and start in self._index and end in self._index:
                low, high = sorted((self._index[start], self._index[end]))
                indices.update(dict.fromkeys(range(low, high + 1)))
            elif start in self._index:
                indices[self._index[start]] = None
        if not indices:
            ends = [
                end for end, letter in enumerate(layer) if letter in "/_" and not layer[end + 1 : end + 2].isdigit()
            ]
            names = (layer[:end].strip("/") for end in reversed(ends))
            indices.update(
                {self._index[name]: None for name in [next((n for n in names if n in self._index), None)] if name}
            )
        return [self.all[index] for index in indices]


def _take_layers(nodes: Mapping[str, DrawnNode], layers: Sequence[tuple[str, str]], drawing: Drawing) -> None:
    """The precision that the layers of a built file compute in, in place of that of its graph."""
    found = _Nodes(nodes)
    for node in found.all:
        node.precision = ""
    for name, precision in layers:
        for node in found.of(name):
            node.precision = precision or node.precision
    if not any(node.precision for node in found.all):
        drawing.notes.append(f"{drawing.title} does not show the precision of its layers")


def _take_times(
    nodes: Mapping[str, DrawnNode], subject: GraphSubject, request: DrawingRequest, drawing: Drawing
) -> None:
    samples, described = input_samples(request.inputs, spec_for(subject.outline, request.inputs))
    backend = require_backend(request.file)
    with closing(open_runner(backend, request.file, fitting_options(backend, request.options))) as runner:
        if not isinstance(runner, TimesLayers):
            raise UsageError(f"{backend.title} does not time layers.", hint="Use --color precision.")
        times = runner.layer_times(renamed(samples, subject.inputs)[0], request.runs)
        drawing.notes.append(f"times are means of {request.runs} runs on {runner.backend}; inputs: {described}")
    shared, named = False, _Nodes(nodes)
    for name, seconds in times.items():
        found = named.of(name)
        shared |= "..." in name and len(found) > 1
        for node in found:
            node.seconds += seconds / len(found)
        if not found:
            drawing.elsewhere += seconds
    if shared:
        drawing.notes.append("layers whose inside is not shown count in equal shares for all of their nodes")


def _take_rows(nodes: Mapping[str, DrawnNode], subject: GraphSubject, path: Path, drawing: Drawing) -> None:
    from adaptrt.pipeline.layers.records import LayerComparison

    try:
        pairs = LayerComparison.from_json(path.read_bytes()).pairs
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.", hint="Check the path.") from error
    pair = _pair_of(subject, pairs, path)
    as_reference = pair.subject != subject.title
    drawing.reference = pair.subject if as_reference else pair.reference
    maker = {tensor.name: tensor.node for tensor in subject.tensors}
    for row in pair.rows:
        node = nodes.get(maker.get((row.reference if as_reference else "") or row.name, ""))
        if node is not None and (node.row is None or row.used > node.row.used):
            node.row = row
    drawing.notes += pair.notes


def _pair_of(subject: GraphSubject, pairs: Sequence[PairComparison], path: Path) -> PairComparison:
    title = subject.title
    for pair in pairs:
        if title == pair.subject:
            return pair
    for pair in pairs:
        if title == pair.reference:
            return pair
    compared = ", ".join(f"{pair.reference} with {pair.subject}" for pair in pairs) or "nothing"
    raise UsageError(
        f"{path.name} compares {compared}, not {title}.",
        hint=f"Compare it: adaptrt compare best.onnx {in_shell(subject.path)} --json > {in_shell(path)}",
    )
