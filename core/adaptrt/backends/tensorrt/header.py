"""Removes and adds the header that Ultralytics writes before a plan: four bytes of length (little-endian), then JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adaptrt.backends.tensorrt.generations import TENSORRT, ProductName, product_named
from adaptrt.errors import EngineError, in_shell
from adaptrt.literals import literal_value
from adaptrt.specs import ModelSpec

_LARGEST = 1 << 24  # a larger number is not the length of a header


def read_header(path: Path) -> tuple[dict[str, Any] | None, int]:
    """The header of a file and the offset of the plan; ``(None, 0)`` for a plain plan."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(4), "little")
        if not 2 <= size <= _LARGEST:
            return None, 0
        text = file.read(size)
    if len(text) != size or not text.startswith(b"{"):
        return None, 0
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        return None, 0
    return header, 4 + size


def unwrap(path: Path, destination: Path) -> dict[str, Any]:
    """Write the plain plan; returns the header."""
    header, start = read_header(path)
    if header is None:
        raise EngineError(
            f"{path.name} has no Ultralytics header.", hint="It is already a plain plan, or it is not an engine."
        )
    with path.open("rb") as source, destination.open("wb") as target:
        source.seek(start)
        while block := source.read(1 << 20):
            target.write(block)
    return header


def wrap(path: Path, destination: Path, header: dict[str, Any]) -> None:
    """Write the header followed by the plan."""
    if read_header(path)[0] is not None:
        raise EngineError(
            f"{path.name} already has an Ultralytics header.",
            hint=f"Remove it first: adaptrt engine unwrap {in_shell(path)}",
        )
    text = json.dumps(header).encode("utf-8")
    with path.open("rb") as source, destination.open("wb") as target:
        target.write(len(text).to_bytes(4, "little") + text)
        while block := source.read(1 << 20):
            target.write(block)


def header_of(spec: ModelSpec, product: ProductName = "tensorrt") -> dict[str, Any]:
    """The header that Ultralytics reads: the metadata of the ONNX file, as JSON types. ``product`` built the engine."""
    if product != TENSORRT.name:
        raise EngineError(
            f"Ultralytics does not run engines of {product_named(product).title}.",
            hint=f"Build one with {TENSORRT.title}: adaptrt build MODEL.onnx --to engine",
        )
    if "names" not in spec.metadata or "stride" not in spec.metadata:
        raise EngineError(
            "The manifest holds no Ultralytics metadata (names, stride ...).",
            hint="Only engines of Ultralytics models can be wrapped for Ultralytics' tools.",
        )
    return {key: _value(text) for key, text in spec.metadata.items()}


def _value(text: str) -> Any:
    """Metadata are Python literals as text (``{0: 'person'}``, ``[640, 640]``, ``32``), or plain text."""
    try:
        value = literal_value(text)
        if isinstance(value, dict):
            value = {str(key): item for key, item in value.items()}
        json.dumps(value)
    except (ValueError, TypeError):  # text, or a literal that JSON does not have (a set, bytes, ...)
        return text
    return value
