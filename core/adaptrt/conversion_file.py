"""A conversion as a TOML file: the options of ``adaptrt convert`` by name, and the versions it ran with.

::

    source = "best.pt"
    adapter = "yolov5"
    batch = "1:8:16"
    precision = "fp16"
    keep-fp32 = ["/head/.*"]

    [set]
    conf = "0.4"

    [versions]
    ultralytics = "8.4.190"
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.build import FLAGS, BuildOptions
from adaptrt.specs.dims import format_shape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from adaptrt.request import Request, ShapeRequest
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.calibration import CalibrationRequest, LabeledData

VERSIONS = "versions"
# a file must not decide this for its user
NEVER = "trust-checkpoint"
# options whose values are loaded and run
_LIBRARIES = ("plugins", "plugin-lib", "ort-custom-ops")
# module:attribute and file.py:attribute, and more than adapters accept, but neither mmdet::name nor a URL
_PYTHON = re.compile(r".*[^:]:[^:/]+", re.DOTALL)


def conversion_text(
    request: Request, versions: Mapping[str, str], opset: int, exporter: str, spec: ModelSpec | None = None
) -> str:
    """The request as TOML; ``opset``, ``exporter`` and ``spec`` are those that were used (0, empty, ``None``: not known).

    The sizes that an adapter chose are written too: another version of it may choose others. Callbacks,
    ``--trust-checkpoint`` and the caches of this machine are not part of it.
    """
    shapes = request.shapes if spec is None else _chosen(request.shapes, spec)
    return toml_text({**_requested(replace(request, shapes=shapes), opset, exporter), VERSIONS: versions})


def _chosen(shapes: ShapeRequest, spec: ModelSpec) -> ShapeRequest:
    """The requested shapes with the image size and batch of the spec, where these options say the same."""
    if shapes.shapes or any(len(tensor.profiles) > 1 for tensor in spec.inputs):
        return shapes
    firsts = {tensor.dims[0] if tensor.dims else None for tensor in spec.inputs}
    batch = next(iter(firsts)) if len(firsts) == 1 else None
    if shapes.batch is None and batch is not None and batch.name is not None:
        shapes = replace(shapes, batch=replace(batch, name=None))
    if shapes.imgsz is None and spec.image is not None:
        dims = spec.input(spec.image.input).dims
        if "hw" in (shapes.dynamic or ()) or not any(dims[axis].dynamic for axis in spec.image.axes[:2]):
            shapes = replace(shapes, imgsz=spec.image_size)
    return shapes


def code_in(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys and values that name code: libraries, plugins, Python, and folders of it.

    Which files exist decides nothing, except for folders: a file may come from the same place as the content.
    """
    for name in _LIBRARIES:
        found = content.get(name, [])
        yield from ((name, str(value)) for value in (found if isinstance(found, list) else [found]))
    for name in ("source", "weights"):
        value = content.get(name)
        if isinstance(value, str) and (_PYTHON.fullmatch(value) or value.strip().endswith(".py")):
            yield name, value
    options = content.get("set")
    for name, value in options.items() if isinstance(options, Mapping) else ():
        text = value.strip() if isinstance(value, str) else ""  # as --set does
        if text.endswith(".py") or (text and Path(text).is_dir()):
            yield f"set.{name}", text


def toml_text(table: Mapping[str, Any]) -> str:
    """Options by name as TOML; mappings become tables at the end."""
    groups = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    lines = [f"{_key(name)} = {_value(value)}" for name, value in table.items() if name not in groups]
    for name, group in groups.items():
        if group:
            lines += ["", f"[{_key(name)}]", *(f"{_key(key)} = {_value(value)}" for key, value in group.items())]
    return "\n".join(lines) + "\n"


def read_conversion(
    path: Path, takes: str = "--config takes a TOML file of options.", example: str = 'adapter = "yolov5"'
) -> dict[str, Any]:
    """The content of such a file; a ``UsageError`` says why it cannot be read, what is expected, and an example."""
    return parse_conversion(path, bytes_of(path, takes), example)


def bytes_of(path: Path, takes: str) -> bytes:
    """The file as it is, read once: it may be a pipe. ``-`` is standard input. A ``UsageError`` says why it cannot be read."""
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist.", hint=takes) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.", hint=takes) from error


def parse_conversion(path: Path, data: bytes, example: str = 'adapter = "yolov5"') -> dict[str, Any]:
    """The content of ``data``, which is from ``path``."""
    try:
        content: dict[str, Any] = tomllib.loads(data.decode("utf-8"))
    except (UnicodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise _not_toml(path, error, example) from error
    return content


def _not_toml(path: Path, error: Exception, example: str) -> UsageError:
    return UsageError(f"{path} is not valid TOML: {error}.", hint=f"Write one option per line, for example: {example}")


def _requested(request: Request, opset: int, exporter: str) -> dict[str, Any]:
    """The options that differ from their defaults, by the name on the command line."""
    shapes = request.shapes
    given: dict[str, Any] = {
        "source": request.source,
        "adapter": request.adapter,
        "weights": request.weights,
        "output": request.output,
        "imgsz": "{}x{}".format(*shapes.imgsz) if shapes.imgsz else None,
        "batch": None if shapes.batch is None else str(replace(shapes.batch, name=None)),
        "dynamic": None if shapes.dynamic is None else ",".join(sorted(shapes.dynamic)) or "none",
        "input-names": ",".join(request.input_names),
        "output-names": ",".join(request.output_names),
        "opset": request.opset or opset or None,
        "exporter": exporter if request.exporter == "auto" else request.exporter,
        "simplify": None if request.simplify else False,
        "target": request.target,
        "to": ",".join(request.to),
        "precision": request.precision,
        "embed-preprocess": request.embed_preprocess or None,
        "keep-fp32": list(request.keep_fp32),
        "keep-fp16": list(request.keep_fp16),
        "quantize-also": list(request.quantize_also),
        "verify": request.verify,
        "require": request.require,
        "image": request.image,
        "test-image": request.test_image,
        "ort-custom-ops": [os.fspath(path) for path in request.ort_custom_ops],
        "plugins": request.plugins_file,
        **_build(request.build),
    }
    if request.nms is not None:
        given["nms"] = request.nms.kind
        if request.nms.kind == "cluster":
            given["nms-rounds"] = request.nms.rounds
        given["nms-candidates"] = request.nms.candidates
        given["nms-schema"] = request.nms.schema
        given["nms-multi-label"] = request.nms.multi_label or None
    if request.calibration is not None:
        given |= _with_details("calib", request.calibration)
    if request.data is not None:
        given |= _with_details("data", request.data)
        given["max-loss"] = given.pop("data-max-loss")
    given["set"] = {key: _text(value) for key, value in request.options.items()}
    given["shape"] = {name: [format_shape(shape) for shape in found] for name, found in shapes.shapes.items()}
    return {
        name: os.fspath(value) if isinstance(value, Path) else value
        for name, value in given.items()
        if value is not None and value != "" and value != [] and value != {}
    }


def _with_details(name: str, given: CalibrationRequest | LabeledData) -> dict[str, Any]:
    """``name`` for the source, and ``name-field`` for each other field."""
    details = {f"{name}-{field.name.replace('_', '-')}": getattr(given, field.name) for field in fields(given)}
    return {name: details.pop(f"{name}-source"), **details}


def _build(options: BuildOptions) -> dict[str, Any]:
    """Build options by the name on the command line."""
    default, found = BuildOptions(), {}
    for field in fields(options):
        value = getattr(options, field.name)
        if value == getattr(default, field.name):
            continue
        name = FLAGS[field.name].removeprefix("--")
        if field.name == "timing_cache":
            found["timing-cache"] = value
        elif field.name == "workspace":
            found[name] = _size(value)
        elif field.name == "device":
            found[name] = f"cuda:{value}"
        elif field.name == "plugin_libs":
            found[name] = list(value)
        elif isinstance(value, tuple):
            found[name] = ",".join(value)
        else:
            found[name] = value
    return found


def _size(count: int) -> str:
    """Bytes as ``--workspace`` reads them."""
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if count % size == 0:
            return f"{count // size}{unit}"
    return f"{count / (1 << 10):.15f}K".rstrip("0")


def _text(value: Any) -> str:
    """An option as ``--set`` reads it."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _value(value: Any) -> str:
    """As TOML, whose strings, lists and numbers are written like JSON; only DEL has to be escaped as well."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if key and all(one.isascii() and (one.isalnum() or one in "-_") for one in key) else _value(key)
