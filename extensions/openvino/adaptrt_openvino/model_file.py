"""Writes ``best.openvino.xml`` and ``best.openvino.bin`` atomically, and reads them with the spec and the build record."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from adaptrt import ModelError, ModelSpec, OutputError
from adaptrt.specs import METADATA_KEY
from adaptrt.store.hashing import file_sha256
from adaptrt_openvino.runtime import MODES, first_line, import_openvino

XML, BIN = ".openvino.xml", ".openvino.bin"
BUILD_KEY = "adaptrt.build"


@dataclass(frozen=True)
class BuildRecord:
    """How a file was built; stored in the .xml and in the report.

    ``precision`` is OpenVINO's mode, which may differ from the name of the requested precision. ``layers`` and ``products``
    count layers by the precision they compute in; ``quantized`` is the number of products that the ONNX graph quantizes;
    ``weights`` is the SHA-256 of the .bin.
    """

    precision: str
    openvino: str
    cpu: str
    weights: str
    layers: Mapping[str, int] = field(default_factory=dict)
    products: Mapping[str, int] = field(default_factory=dict)
    quantized: int = 0
    command: str = ""
    version: int = 1


def weights_beside(path: Path) -> Path:
    """The .bin file that belongs to an .xml file."""
    return path.with_suffix(".bin")


@contextmanager
def written_aside(output: Path) -> Iterator[Path]:
    """A temporary path for the .xml next to ``output``. Both files are renamed at the end, or removed after an error."""
    with tempfile.TemporaryDirectory(prefix=f".{output.name[:100]}.", dir=output.parent) as folder:
        aside = Path(folder) / output.name
        yield aside
        # until both are there they do not belong together, and are refused: see ``open_model``
        weights_beside(aside).replace(weights_beside(output))
        aside.replace(output)


def write_model(model: Any, path: Path, *, half_weights: bool) -> None:
    """Write both files. By default, OpenVINO would store the weights in float16."""
    try:
        import_openvino().save_model(model, path, compress_to_fp16=half_weights)
    except RuntimeError as error:
        raise OutputError(
            f"{path.name} cannot be written: {first_line(error)}", hint="Check the permissions and the free disk space."
        ) from error


def attach(model: Any, spec: ModelSpec, record: BuildRecord | None = None) -> None:
    """Store the spec and the record in the .xml."""
    model.set_rt_info(spec.to_json(), [METADATA_KEY])
    if record is not None:
        model.set_rt_info(msgspec.json.encode(record).decode(), [BUILD_KEY])


def open_model(core: Any, path: Path) -> tuple[Any, ModelSpec | None, BuildRecord | None]:
    """The model, with its spec and build record if adaptrt wrote the file.

    Raises a ``ModelError`` if the .bin is missing or belongs to another .xml, since wrong weights may have the same shapes.
    """
    weights = weights_beside(path)
    if not weights.is_file():
        raise ModelError(
            f"{path.name} has no weights: {weights.name} is missing.", hint="Copy both files into the same folder."
        )
    try:
        model = core.read_model(path, weights)
    except Exception as error:
        raise ModelError(
            f"OpenVINO cannot read {path.name}: {first_line(error)}", hint="Convert the model again."
        ) from error
    text, built = _text(model, METADATA_KEY), _text(model, BUILD_KEY)
    spec = ModelSpec.from_json(text) if text else None
    record = _read_record(built, path) if built else None
    if record is not None and record.weights != file_sha256(weights):
        raise ModelError(
            f"{weights.name} does not belong to {path.name}: its weights are from another conversion.",
            hint="Copy both files of the same conversion, or convert the model again.",
        )
    return model, spec, record


def _text(model: Any, key: str) -> str:
    return str(model.get_rt_info([key]).astype(str)) if model.has_rt_info([key]) else ""


def _read_record(text: str, path: Path) -> BuildRecord:
    try:
        record = msgspec.json.decode(text, type=BuildRecord)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ModelError(
            f"The build record in {path.name} cannot be read: {error}.", hint="Convert the model again."
        ) from error
    if record.version > BuildRecord.version or record.precision not in MODES:
        raise ModelError(
            f"{path.name} was written by a later adaptrt-openvino.", hint="Update: pip install -U adaptrt-openvino"
        )
    return record
