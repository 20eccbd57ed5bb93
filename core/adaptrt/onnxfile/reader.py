"""Reads the outline of an ONNX file without the onnx package; weights are skipped, not loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from adaptrt.errors import GraphError, UsageError, in_shell
from adaptrt.onnxfile.operators import STANDARD, operator_name
from adaptrt.specs import METADATA_KEY, ModelSpec
from adaptrt.store.model_files import not_onnx, require_model_file

STACK_TRACE = "pkg.torch.onnx.stack_trace"
SOURCE = "adaptrt.source"  # file.py:12, the form that adaptrt writes
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_HEAD = 20  # bytes: a tag and a size at their longest
_LOCATION, _SMALL = b"location", 1 << 12  # a message of so many bytes is searched for this key first
_NODE, _ATTRIBUTE, _GRAPH, _TENSOR, _SPARSE = "node", "attribute", "graph", "tensor", "sparse tensor"
_FUNCTION, _TRAINING = "function", "training information"
# by kind of message, the numbers of the fields in which tensors may be
_INSIDE: dict[str, dict[int, str]] = {
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _TENSOR: {},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},  # 11: the defaults of its attributes
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
_WEIGHT_TYPES = (
    "float32", "float16", "bfloat16", "float64", "int8", "int4", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn",
)  # fmt: skip
_DTYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    16: "bfloat16",
    17: "float8_e4m3fn",
    19: "float8_e5m2",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
}


@dataclass(frozen=True)
class Node:
    """A node; an unnamed node is called ``node_of_`` plus its first output, as in TensorRT's parser."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    source: str | None = None


@dataclass(frozen=True)
class Tensor:
    """An input or output; dynamic axes are ``None`` or a name."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass
class OnnxFile:
    """The outline of an ONNX file. ``weights`` maps an initializer to its number of elements, ``weight_types`` counts
    elements by type, ``external`` names the files that hold tensors, also those of attributes, subgraphs and functions."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    weight_types: dict[str, int] = field(default_factory=dict)
    external: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    opset: int = 0

    @property
    def spec(self) -> ModelSpec | None:
        """The spec stored in the file; ``None`` if adaptrt did not write it."""
        text = self.metadata.get(METADATA_KEY)
        return ModelSpec.from_json(text) if text else None

    @property
    def float32_bytes(self) -> int:
        """Size of the weights as float32, in bytes, including quantized ones."""
        return 4 * sum(self.weight_types.get(dtype, 0) for dtype in _WEIGHT_TYPES)

    @property
    def operators(self) -> Counter[str]:
        return Counter(node.operator for node in self.nodes)


def read_onnx(path: Path) -> OnnxFile:
    """The outline of the main graph."""
    require_model_file(path)
    if path.stat().st_size == 0:
        raise GraphError(f"{path.name} is empty.", hint="Convert the model again.")
    found = _outline(path)
    if not found.outputs:
        raise GraphError(f"{path.name} contains no ONNX graph.", hint="Check that the file is complete.")
    return found


def external_names(path: Path) -> list[str]:
    """The names of the external files of any ONNX file, each once."""
    return list(dict.fromkeys(_outline(path).external))


def _outline(path: Path) -> OnnxFile:
    found = OnnxFile()
    # read, not mapped: a mapped file that becomes shorter meanwhile ends the process by SIGBUS
    with path.open("rb") as file:
        try:
            _read_model(_Part(file, 0, file.seek(0, os.SEEK_END)), found)
        except (IndexError, ValueError) as error:
            raise not_onnx(path) from error
    return found


def external_files(path: Path, found: OnnxFile) -> list[Path]:
    """The external files that contain tensors, each once. A ``GraphError`` if one is not a file in the folder of the ONNX file."""
    names = list(dict.fromkeys(found.external))
    for name in names:
        if not _is_inside(path.parent, name):
            is_link = not Path(name).is_absolute() and os.path.islink(path.parent / name)  # noqa: PTH114  (the name may be too long)
            raise GraphError(
                f"{path.name} stores weights in {name!r}, which is not a file in its folder.",
                hint=copy_links(path)
                if is_link
                else "Save the model as a single file, or with its weights in the same folder.",
            )
    return [path.parent / name for name in names]


def present_files(path: Path, found: OnnxFile) -> list[Path]:
    """``external_files``, all of which exist; else a ``UsageError``."""
    files = external_files(path, found)
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise UsageError(f"{path.name} stores weights in {missing.name}, which is missing.", hint="Copy both files.")
    return files


def copy_links(path: Path) -> str:
    """The hint for weights behind a symbolic link, as in the cache of huggingface_hub."""
    return f"Copy the files themselves into one folder: cp -L {in_shell(path.parent)}/* FOLDER/"


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a location is below the folder, whatever its name, and where symbolic links lead too; a file there may be missing."""
    try:
        real, location = Path(os.path.realpath(folder / name)), Path(name)
        inside = (
            not location.is_absolute() and ".." not in location.parts and real.is_relative_to(os.path.realpath(folder))
        )
        return inside and (real.is_file() or not real.exists())
    except (OSError, ValueError):
        return False


class _Part(NamedTuple):
    """A part of the file, at these bytes; only what is asked for is read."""

    file: BinaryIO
    start: int
    size: int

    def read(self) -> bytes:
        self.file.seek(self.start)
        data = self.file.read(self.size)
        if len(data) < self.size:
            raise ValueError("the file is truncated")
        return data

    def fields(self) -> Iterator[tuple[int, int | _Part]]:
        """Field numbers and values of a protocol buffer message."""
        position, end = self.start, self.start + self.size
        while position < end:
            self.file.seek(position)
            head = self.file.read(min(_HEAD, end - position))
            tag, used = _varint(head, 0)
            number, wire = tag >> 3, tag & 7
            if wire == _VARINT:
                value, used = _varint(head, used)
                yield number, value
                position += used
                continue
            if wire == _BYTES:
                size, used = _varint(head, used)
            else:
                size = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
            if size < 0 or position + used + size > end:
                raise ValueError("a field extends beyond its message")
            yield number, _Part(self.file, position + used, size)
            position += used + size


def _read_model(data: _Part, found: OnnxFile) -> None:
    for number, value in data.fields():
        if number == 7 and isinstance(value, _Part):
            for inner, part in value.fields():
                if isinstance(part, _Part):
                    _read_graph_field(inner, part, found)
        elif number == 8 and isinstance(value, _Part):
            _read_opset(value, found)
        elif number == 14 and isinstance(value, _Part):
            key, text = _pair(value)
            found.metadata[key] = text
        elif number in (20, 25):
            found.external.extend(_locations(value, _TRAINING if number == 20 else _FUNCTION))
    found.inputs = [tensor for tensor in found.inputs if tensor.name not in found.weights]


def _locations(value: int | _Part, kind: str) -> Iterator[str]:
    """The locations of external data anywhere in a message: in attributes, and in the graphs of If, Loop and Scan."""
    waiting = [(value, kind)]
    while waiting:
        part, kind = waiting.pop()
        if not isinstance(part, _Part) or (part.size <= _SMALL and _LOCATION not in part.read()):
            continue
        for number, inner in part.fields():
            if kind == _TENSOR and number == 13 and isinstance(inner, _Part):
                key, text = _pair(inner)
                if key == "location":
                    yield text
            elif number in _INSIDE[kind]:
                waiting.append((inner, _INSIDE[kind][number]))


def _read_graph_field(number: int, value: _Part, found: OnnxFile) -> None:
    if number == 1:
        found.nodes.append(_node(value))
        found.external.extend(_locations(value, _NODE))
    elif number == 5:
        _read_weights(value, found)
    elif number == 11:
        found.inputs.append(_tensor(value))
    elif number == 12:
        found.outputs.append(_tensor(value))
    elif number == 15:
        found.external.extend(_locations(value, _SPARSE))


def _read_opset(data: _Part, found: OnnxFile) -> None:
    domain, version = "", 0
    for number, value in data.fields():
        if number == 1:
            domain = _text(value)
        elif number == 2 and isinstance(value, int):
            version = value
    if domain in STANDARD:
        found.opset = version


def _node(data: _Part) -> Node:
    name = operator = domain = ""
    inputs: list[str] = []
    outputs: list[str] = []
    source: str | None = None
    for number, value in data.fields():
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            name = _text(value)
        elif number == 4:
            operator = _text(value)
        elif number == 6:
            source = _source_line(_text(value)) or source  # TorchScript writes it to the doc string
        elif number == 7:
            domain = _text(value)
        elif number == 9 and isinstance(value, _Part):
            key, text = _pair(value)
            source = (_source_line(text) or source) if key == STACK_TRACE else text if key == SOURCE else source
    return Node(
        name or f"node_of_{outputs[0] if outputs else ''}",
        operator_name(domain, operator),
        tuple(inputs),
        tuple(outputs),
        source,
    )


def _source_line(text: str) -> str | None:
    """The innermost line outside torch of a Python stack trace: ``File "a.py", line 7, in f`` or ``a.py(7): f``."""
    lines = [line.strip() for line in text.splitlines()]
    frames = [line for line in reversed(lines) if line.startswith("File ") or ".py(" in line]
    return next((line for line in frames if "/torch/" not in line), frames[0] if frames else None)


def _read_weights(data: _Part, found: OnnxFile) -> None:
    name, kind, elements = "", 0, 1
    for number, value in data.fields():
        if number == 1 and isinstance(value, int):
            elements *= value
        elif number == 1 and isinstance(value, _Part):  # packed
            for size in _packed(value):
                elements *= size
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(value)
        elif number == 13 and isinstance(value, _Part):
            key, text = _pair(value)
            if key == "location":
                found.external.append(text)
    found.weights[name] = elements
    dtype = _DTYPES.get(kind, f"type {kind}")
    found.weight_types[dtype] = found.weight_types.get(dtype, 0) + elements


def _tensor(data: _Part) -> Tensor:
    name, dtype = "", "unknown"
    shape: tuple[int | str | None, ...] = ()
    for number, value in data.fields():
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, _Part):
            for kind, inner in value.fields():
                if kind == 1 and isinstance(inner, _Part):
                    dtype, shape = _tensor_type(inner)
    return Tensor(name, dtype, shape)


def _tensor_type(data: _Part) -> tuple[str, tuple[int | str | None, ...]]:
    dtype = "unknown"
    shape: list[int | str | None] = []
    for number, value in data.fields():
        if number == 1 and isinstance(value, int):
            dtype = _DTYPES.get(value, f"type {value}")
        elif number == 2 and isinstance(value, _Part):
            for _, axis in value.fields():
                size: int | str | None = None
                for kind, inner in axis.fields() if isinstance(axis, _Part) else ():
                    size = _text(inner) if kind == 2 else inner if kind == 1 and isinstance(inner, int) else size
                shape.append(size)
    return dtype, tuple(shape)


def _pair(data: _Part) -> tuple[str, str]:
    key = text = ""
    for number, value in data.fields():
        if number == 1:
            key = _text(value)
        elif number == 2:
            text = _text(value)
    return key, text


def _text(value: int | _Part) -> str:
    if isinstance(value, int):
        raise ValueError("expected text, found a number")
    return value.read().decode("utf-8")


def _packed(part: _Part) -> Iterator[int]:
    data, position = part.read(), 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a varint is too long")
