"""Reads a source once, as data, for recognizers: its kind, its structure, its literals. Nothing is executed; no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adaptrt.checkpoint.config_literals import python_definitions, python_literals
from adaptrt.checkpoint.kinds import check_kind, is_safetensors
from adaptrt.checkpoint.outline import TensorShape, outline_of
from adaptrt.checkpoint.states import NESTINGS
from adaptrt.checkpoint.weights import is_checkpoint_name
from adaptrt.errors import CheckpointError, ModelError
from adaptrt.specs.recognizers import SourceFacts

CONFIGS = (".json", ".yaml", ".yml")
HUB_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # files of a folder whose configuration is in config.json
MAX_TEXT = 1 << 20
MAX_HEADER = 100_000_000  # bytes, the limit of safetensors itself
_OBJECT = re.compile(r"(?P<place>.+):(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*)")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def read_facts(source: str) -> SourceFacts:
    """The facts of a source; a ``CheckpointError`` for a file that is missing, damaged, or not a model."""
    path = Path(source)
    if path.is_dir():
        return SourceFacts(source=source, kind="folder", path=path, config=_json(path / "config.json"))
    if path.is_file():
        return _file(source, path)
    found = _OBJECT.fullmatch(source)
    if found and (found["place"].endswith(".py") or _MODULE.fullmatch(found["place"])):
        place = Path(found["place"])
        if place.suffix == ".py" and not place.is_file():
            raise ModelError(f"File not found: {place}.")
        return SourceFacts(source=source, kind="object", path=place if place.suffix == ".py" else None)
    if is_checkpoint_name(source):
        check_kind(path)  # says that it is missing, and what is near
    return SourceFacts(source=source, kind="name")


def _file(source: str, path: Path) -> SourceFacts:
    suffix = path.suffix.lower()
    if suffix == ".py":
        text = _text(path)
        return SourceFacts(
            source=source,
            kind="python",
            path=path,
            config=python_literals(text),
            definitions=python_definitions(text),
            text=text,
        )
    if suffix in CONFIGS:
        return SourceFacts(source=source, kind="config", path=path, config=_json(path), text=_text(path))
    beside = _json(path.with_suffix(".json")) or (
        _json(path.with_name("config.json")) if path.name in HUB_WEIGHTS else {}
    )
    if is_safetensors(path):
        return SourceFacts(source=source, kind="weights", path=path, tensors=_safetensors_shapes(path), config=beside)
    outline = outline_of(path, check_kind(path))
    if outline.program is not None:
        return SourceFacts(source=source, kind=outline.program, path=path)
    return SourceFacts(
        source=source,
        kind="checkpoint",
        path=path,
        content=outline.content,
        classes=outline.classes,
        tensors=_shapes(outline.content),
        config=beside,
    )


def _shapes(content: Any) -> dict[str, tuple[int, ...]]:
    """Shapes by name: where the tensors are, at the top or where training code puts them."""
    places = [content, *(content.get(name) for name in NESTINGS)] if isinstance(content, Mapping) else []
    for place in places:
        if isinstance(place, Mapping):
            found = {
                name: value.shape
                for name, value in place.items()
                if isinstance(name, str) and isinstance(value, TensorShape)
            }
            if found:
                return found
    return {}


def _safetensors_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise CheckpointError(f"{path} is damaged: its header is declared as {length} bytes.")
        header = file.read(length)
    try:
        table = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: its header is not valid JSON.") from error
    shapes = {}
    for name, entry in table.items() if isinstance(table, dict) else ():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if name != "__metadata__" and isinstance(shape, list) and all(type(extent) is int for extent in shape):
            shapes[name] = tuple(shape)
    return shapes


def _text(path: Path) -> str:
    """The start of a text file; empty if it is not UTF-8."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError:
        return ""
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error


def _json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty if there is none."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return {}
    try:
        content = json.loads(_text(path) or "null")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
