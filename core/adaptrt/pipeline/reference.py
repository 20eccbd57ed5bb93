"""The model that a file was converted from, found again through the report beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from adaptrt.errors import ModelError
from adaptrt.pipeline.load import Model
from adaptrt.pipeline.opened import OpenedAdapter
from adaptrt.report import Report
from adaptrt.request import Request, ShapeRequest
from adaptrt.trt.manifest import file_sha256

SUFFIX = ".report.json"


def report_of(path: Path) -> Report | None:
    """The report of the conversion that wrote this file; ``None`` if it is not beside it.

    A ``ModelError`` if the file is not the one that the report describes.
    """
    stem = path.name
    while "." in stem:
        stem = stem.rpartition(".")[0]
        candidate = path.with_name(stem + SUFFIX)
        if candidate.is_file():
            report = Report.from_json(candidate.read_bytes())
            _require_described(report, candidate, path)
            return report
    return None


def _require_described(report: Report, beside: Path, path: Path) -> None:
    hashes = [record.sha256 for record in report.files.values() if Path(record.path).name == path.name]
    if hashes and path.is_file() and file_sha256(path) not in hashes:
        raise ModelError(
            f"{beside.name} describes another {path.name}: one of the two was changed or replaced.",
            hint="Convert the model again, or restore the file that belongs to the report.",
        )


def load_reference(
    path: Path, *, weights: Path | None = None, trust_checkpoint: bool = False, plugins_file: Path | None = None
) -> Model:
    """The unpatched model, eager on the CPU, with the pre- and postprocessing of the file converted from it.

    ``weights`` is where the checkpoint lies now, if not where the report says.
    """
    report = report_of(path)
    if report is None or report.spec is None:
        raise ModelError(
            f"What {path.name} was converted from is not known: its report is not beside it.",
            hint=f"Keep <name>{SUFFIX} beside the file.",
        )
    from adaptrt.export.eager import EagerRunner

    spec = report.spec
    source, old = report.source, Path(report.weights) if report.weights else None
    if weights is not None:
        source, old = (report.source, weights) if old is not None else (str(weights), None)
    with tempfile.TemporaryDirectory(prefix="adaptrt-reference-") as folder:
        request = Request(
            source,
            report.adapter,
            weights=old,
            shapes=ShapeRequest(shapes={tensor.name: tensor.profiles for tensor in spec.inputs}),
            options=report.options,
            trust_checkpoint=trust_checkpoint,
            plugins_file=plugins_file,
        )
        model = OpenedAdapter(request, Path(folder)).model.eval()
    return Model(
        EagerRunner(model, tuple(output.name for output in spec.outputs)), spec, path, plugins_file=plugins_file
    )
