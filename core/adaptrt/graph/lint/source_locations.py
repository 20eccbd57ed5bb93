"""The line of Python that made a node: read from the raw export, carried by the names of tensors.

dynamo writes stack traces into the metadata of nodes, TorchScript (verbose) into their doc strings; simplifiers drop
both, and both hold paths of the machine that exported.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from adaptrt.onnxfile.reader import SOURCE, STACK_TRACE
from adaptrt.report import SourceLocation

_DYNAMO = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
_TORCHSCRIPT = re.compile(r"^(?P<file>.+?)\((?P<line>\d+)\): ", re.MULTILINE)
# what the exporters and we ourselves wrap around a model
_NOT_THE_MODEL = re.compile(r"(^|(site|dist)-packages/)(torch|onnxscript)/|adaptrt/(export|patching)/|<")
_NOT_ITS_PACKAGES = ("torch", "onnxscript")  # wherever they are installed
_EXPORTERS_OWN = ("pkg.torch.", "pkg.onnxscript.", "namespace")


def read_source_locations(model: ir.Model) -> dict[str, SourceLocation]:
    """Tensor name to the line of Python that made it, for tensors whose line the exporter recorded."""
    locations: dict[str, SourceLocation] = {}
    for node in reversed(list(model.graph.all_nodes())):
        location = _location(node) or _of_its_user(node, locations)
        if location is not None:
            locations.update({str(value.name): location for value in node.outputs})
    return locations


def annotate_sources(model: ir.Model, locations: Mapping[str, SourceLocation]) -> None:
    """Leave on each node ``file.py:12`` in place of the exporter's own notes, which hold this machine's paths."""
    locations = dict(locations)
    for node in reversed(list(model.graph.all_nodes())):
        for key in [key for key in node.metadata_props if key.startswith(_EXPORTERS_OWN)]:
            del node.metadata_props[key]
        node.doc_string = None
        location = next((locations[str(value.name)] for value in node.outputs if str(value.name) in locations), None)
        location = location or _of_its_user(node, locations)
        if location is not None:
            locations.update({str(value.name): location for value in node.outputs})
            node.metadata_props[SOURCE] = f"{location.file}:{location.line}"


def source_location_of(node: ir.Node) -> SourceLocation | None:
    """Where a node comes from: what ``annotate_sources`` left, or the exporter's own note."""
    kept = node.metadata_props.get(SOURCE, "")
    file, colon, line = kept.rpartition(":")
    if colon and line.isdigit():
        return SourceLocation(file, int(line), _code(file, int(line)))
    return _location(node)


def shown_file(path: str) -> str:
    """A path that means something elsewhere too: below site-packages, the current folder or the folder that Python imports it
    from, else its last two parts."""
    inside = path.partition("site-packages/")[2] or path.partition("dist-packages/")[2]
    if inside:
        return inside
    file = Path(path)
    imported = sorted((Path(one) for one in sys.path if one), key=lambda one: -len(one.parts))
    folder = next((one for one in (Path.cwd(), *imported) if file.is_relative_to(one)), None)
    if folder is not None:
        return str(file.relative_to(folder))
    return "/".join(file.parts[-2:]) if file.is_absolute() else path


def at(path: str, line: int) -> SourceLocation:
    """The location, with its line of code where the file is here."""
    return SourceLocation(shown_file(path), line, _line_of(Path(path), line))


def _location(node: ir.Node) -> SourceLocation | None:
    """The innermost frame that belongs to the model."""
    trace = node.metadata_props.get(STACK_TRACE)
    frames = [*_DYNAMO.finditer(trace)][::-1] if trace else [*_TORCHSCRIPT.finditer(node.doc_string or "")]
    for frame in frames:
        if not _NOT_THE_MODEL.search(frame["file"]) and not _of_an_exporter(frame["file"]):
            return at(frame["file"], int(frame["line"]))
    return None


def _of_an_exporter(file: str) -> bool:
    modules = (sys.modules.get(name) for name in _NOT_ITS_PACKAGES)
    return any(Path(file).is_relative_to(folder) for one in modules if one is not None for folder in one.__path__)


def _of_its_user(node: ir.Node, locations: Mapping[str, SourceLocation]) -> SourceLocation | None:
    """What an exporter or a pass made for another node (the sizes for an expand, say) belongs to that one's line."""
    users = (use.node.outputs for value in node.outputs for use in value.uses())
    return next(
        (locations[str(value.name)] for values in users for value in values if str(value.name) in locations), None
    )


def _code(file: str, line: int) -> str:
    """The line, from the current folder or from where packages lie."""
    for folder in ("", *sys.path):
        path = Path(folder, file)
        if path.is_file():
            return _line_of(path, line)
    return ""


def _line_of(path: Path, line: int) -> str:
    """A line of Python. The path may come out of an ONNX file: anything else that it names is not read."""
    return linecache.getline(str(path), line).strip() if path.suffix == ".py" and path.is_file() else ""
