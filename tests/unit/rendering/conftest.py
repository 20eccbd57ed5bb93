"""Reports to render, made by hand: what a conversion finds is not this layer's matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adaptrt.report import (
    Check,
    Failure,
    FileRecord,
    ImageRecord,
    PassRecord,
    PatchRecord,
    PredictionRecord,
    Report,
    Stage,
    Verdict,
)
from adaptrt.specs import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputGroup, OutputSpec


@pytest.fixture
def report(image: Path, tmp_path: Path) -> Report:
    """A conversion that passed: links 1, 2 and 5 ran; a detector looked at one image."""
    spec = ModelSpec(
        inputs=(InputSpec.image(64, 96, batch=Dim(1, 8, 16, "batch")),),
        outputs=(OutputSpec("output0", ("batch", 7, 96), groups=(OutputGroup("boxes", "pixels", 1, 0, 4),)),),
        task="detect",
        image=ImageTransform(),
        decoder=DecoderSpec("yolo", {"conf": 0.4}),
        labels=("red", "blue"),
    )
    found = Report("tiny", "nets/best.pt", "adaptrt convert --adapter tiny nets/best.pt", status="passed", spec=spec)
    found.exporter, found.opset = "torchscript", 17
    found.stages = [Stage("load", 0.4, "Detector"), Stage("export", 1.6), Stage("link 2", 2.0, "batches 2", True)]
    for number in (1, 2, 5):
        found.link(number).status = "passed"
    found.link(1).checks = [Check("output0: boxes", "pixels", 0.0, 0.02, True, "rounding", samples=4)]
    found.link(2).checks = [
        Check("output0: boxes", "pixels", 0.005, 0.02, True, "rounding", samples=4),
        Check("output0: scores", "scores", 9e-5, 1e-4, True, "below any threshold", samples=4),
    ]
    found.link(5).checks = [Check("matched boxes", "share", 1.0, 1.0, True, samples=1, higher_is_better=True)]
    found.link(0).reason, found.link(3).reason, found.link(4).reason = "no --image", "float32", "no engine was built"
    found.patches = [PatchRecord("tinyvision.nets:cells", "FunctionPatch", "shape reads", "torch>=2", "tiny", 4)]
    found.passes = [PassRecord("fold", "constants", "core.conversion", 30, 22, 0.01, "a note")]
    found.operators = {"exported": {"Conv": 10, "Shape": 4, "Gather": 16}, "final": {"Conv": 10, "Add": 12}}
    found.verdict = Verdict("partly verified", ["link 0 did not run: no --image"])
    found.files = {"onnx": FileRecord(str(tmp_path / "best.onnx"), 1_234_567, "ab" * 32, found.verdict)}
    found.plugins = {"tiny": "adaptrt-tiny 0.3"}
    found.environment = {"python": "3.11", "adaptrt": "0.1.0", "torch": "2.11"}
    boxes = [[20.0, 16.0, 60.0, 48.0], [70.0, 60.0, 110.0, 90.0]]
    data = {"scores": [0.9, 0.8], "labels": [0, 1], "names": spec.labels, "boxes": boxes}
    found.images = [
        ImageRecord(
            str(image),
            {
                "onnxruntime": PredictionRecord("detect", "1 red, 1 blue", data),
                "eager": PredictionRecord("detect", "1 red, 1 blue", data),
            },
        )
    ]
    return found


@pytest.fixture
def failed(report: Report) -> Report:
    """The same, ended by link 2."""
    report.status = "failed"
    report.failure = Failure("VerificationError", "Link 2 fails.", "Try the other --exporter.", "link 2")
    report.link(2).status = "failed"
    report.link(2).checks[1] = replace(report.link(2).checks[1], value=0.31, passed=False)
    report.link(5).status, report.link(5).checks = "not run", []
    report.files.clear()
    return report
