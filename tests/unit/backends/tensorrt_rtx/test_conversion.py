"""``--to rtx`` from a model to an engine and its manifest, on a machine that cannot run it."""

from __future__ import annotations

from pathlib import Path

import pytest

import adaptrt
from adaptrt.backends.tensorrt.availability import no_gpu_reason
from adaptrt.backends.tensorrt.manifest import find_manifest
from adaptrt.errors import UsageError

pytestmark = pytest.mark.usefixtures("tiny")


def test_an_engine_that_other_machines_run() -> None:
    report = adaptrt.convert(
        "detector", adapter="tiny", to=("onnx", "rtx"), precision="fp16", verify="quick", html=False
    )
    assert {Path(name).name for name in map(str, Path.cwd().iterdir())} >= {
        "detector.onnx", "detector.fp16.onnx", "detector.rtx.engine", "detector.rtx.engine.json",
    }  # fmt: skip
    manifest = find_manifest(Path("detector.rtx.engine"))
    assert manifest is not None
    assert (manifest.product, manifest.precision, manifest.adapter) == ("rtx", "fp16", "tiny")
    assert (manifest.onnx, manifest.checks[3].status) == ("detector.fp16.onnx", "passed")
    assert "--to rtx" in manifest.rebuild
    assert report.artifacts[0].facts["TensorRT-RTX"] == manifest.tensorrt
    if no_gpu_reason() is not None:
        assert (report.links[4].status, report.links[4].reason) == (
            "not run",
            "it cannot run on this machine: No NVIDIA GPU is visible.",
        )
        assert not report.files["rtx.engine"].runs
        page = (Path(__file__).parents[4] / "docs/how-to/build-for-rtx.md").read_text(encoding="utf-8")
        assert f"`not run: {report.links[4].reason}`" in " ".join(page.split())


def test_a_graph_for_another_target_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="target=8"):
        adaptrt.convert("detector", adapter="tiny", to=("rtx",), target="8", html=False)
    assert list(Path.cwd().iterdir()) == []
