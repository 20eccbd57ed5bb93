"""What predictions on images say of an int8 file."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adaptrt import DecoderSpec, ImageTransform, InputSpec, ModelSpec
from adaptrt.pipeline.artifacts import onnx_artifact
from adaptrt.pipeline.quantizing import judged
from adaptrt.pipeline.verification.verify import Verification
from adaptrt.report import Check
from adaptrt.specs import precision_named

SPEC = ModelSpec((InputSpec.image(32, 32),), (), "detect", ImageTransform(), DecoderSpec("yolo"), ("a", "b"))


def distance() -> Check:
    return Check(name="boxes", unit="pixels", value=9.0, limit=1.0, passed=False, reason="", samples=1)


@pytest.mark.parametrize("measured", [True, False])
def test_nothing_is_found_in_any_image(measured: bool) -> None:
    """Distances say nothing of int8, so no check is left that could fail."""
    judge: Any = SimpleNamespace(
        checks=lambda *_, **__: ([], "3 images without labels"), shortcoming="no labels (--data)"
    )
    job: Any = SimpleNamespace(
        judge=judge, calibration=object(), runners=SimpleNamespace(open=lambda *_: None), request=None, metrics=None
    )
    found = Verification(checks=[distance()] if measured else [])
    result = judged(job, onnx_artifact(Path("best.int8.onnx"), precision_named("int8")), SPEC, found)
    if measured:
        assert result.shortcoming.startswith("nothing was detected")
        assert "no labels (--data)" in result.shortcoming
    assert result.empty is not measured
    assert "3 images without labels" in result.note
