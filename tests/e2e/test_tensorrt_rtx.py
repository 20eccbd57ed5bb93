"""Every trained fixture, in every precision, static and dynamic, through the parser and builder of TensorRT-RTX.

What comes out cannot run here: this shows that the graphs parse and build, with the API of TensorRT 11.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import adaptrt
from adaptrt.backends.tensorrt.manifest import find_manifest

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for Linux on x86-64 only")
for module in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

pytestmark = pytest.mark.full

FIXTURES = Path(__file__).parents[1] / "fixtures"
# fixture: the framework that its adapter needs
MODELS = {
    "yolov5": ("yolov5n_shapes.pt", "ultralytics"),
    "swin": ("swin_shapes", "timm"),
    "detr": ("detr_shapes.pth", "mmdet"),
}
# the share of float32 that the builder's weights may take; some of a network stays float32
SHARES = {"fp32": 1.1, "tf32": 1.1, "fp16": 0.75, "bf16": 0.75, "int8": 0.75}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """The fixture as an ONNX file for TensorRT-RTX, converted once."""
    made: dict[tuple[str, bool], Path] = {}

    def convert(adapter: str, dynamic: bool) -> Path:
        source, framework = MODELS[adapter]
        pytest.importorskip(framework, reason=f"the adapter {adapter} needs it")
        if (adapter, dynamic) not in made:
            path = tmp_path_factory.mktemp(adapter) / "model.onnx"
            shape: dict[str, Any] = {} if dynamic else {"batch": 2}
            report = adaptrt.convert(
                FIXTURES / source, adapter=adapter, output=path, target="rtx", to="onnx", verify="none", html=False,
                **shape,
            )  # fmt: skip
            assert report.spec is not None
            assert report.spec.inputs[0].dims[0].dynamic == dynamic
            made[adapter, dynamic] = path
        return made[adapter, dynamic]

    return convert


@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "static"])
@pytest.mark.parametrize("precision", list(SHARES))
@pytest.mark.parametrize("adapter", list(MODELS))
def test_trained_models(
    graph: Callable[[str, bool], Path], images: Path, adapter: str, precision: str, dynamic: bool, tmp_path: Path
) -> None:
    report = adaptrt.build(
        graph(adapter, dynamic),
        output=tmp_path / "best.rtx.engine",
        to="rtx",
        precision=precision,
        calib=images if precision == "int8" else None,
        verify="none",
        html=False,
    )
    manifest = find_manifest(tmp_path / "best.rtx.engine")
    assert manifest is not None
    assert manifest.compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")
    assert manifest.precision_report.plan_share < SHARES[precision]
    if precision in ("fp16", "bf16", "int8"):
        assert manifest.precision_report.layers[precision] > 10
    assert [link.status for link in report.links] == ["not run"] * 6


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What int8 is calibrated on here: ranges do not decide what is built."""
    from adaptrt.vision.examples import image_noise
    from adaptrt.vision.images import write_image

    folder = tmp_path_factory.mktemp("images")
    for seed in range(2):
        write_image(folder / f"{seed}.png", image_noise(np.random.default_rng(seed), (256, 320)))
    return folder


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("dynamic", ["batch", "batch,hw"])
def test_nms_in_the_graph(precision: str, dynamic: str, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="the adapter yolov5 needs it")
    report = adaptrt.convert(
        FIXTURES / "yolov5n_shapes.pt", adapter="yolov5", output=tmp_path / "best.onnx", imgsz=320, batch="1:2:4",
        dynamic=dynamic, target="rtx", to="onnx,rtx", precision=precision, nms=True, verify="none", html=False,
    )  # fmt: skip
    assert not {finding.rule for finding in report.findings if finding.severity == "error"}
    manifest = find_manifest(tmp_path / "best.rtx.engine")
    assert manifest is not None
    assert [output.name for output in manifest.spec.outputs] == [
        "num_dets", "det_boxes", "det_scores", "det_classes", "nms_converged",
    ]  # fmt: skip
