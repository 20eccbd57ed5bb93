"""Every trained fixture, in every precision, static and dynamic, through the parser and builder of TensorRT-RTX.

What comes out cannot run here: this shows that the graphs parse and build, with the API of TensorRT 11.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trained_models import TRAINED

import adaptrt
from adaptrt import AdaptrtError
from adaptrt.backends.tensorrt.manifest import find_manifest
from adaptrt.cli.health import find_gpus

pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX has wheels for Linux on x86-64 only")
for module in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

pytestmark = pytest.mark.full

# the parser of TensorRT-RTX rejects it on a machine without a GPU
NEEDS_A_GPU = {"mask_rcnn": "RoiAlign"}
# the share of float32 that the builder's weights may take; some of a network stays float32
SHARES = {"fp32": 1.1, "tf32": 1.1, "fp16": 0.75, "bf16": 0.75, "int8": 0.75}


# its transposed convolution in bfloat16: TensorRT-RTX infers no type for it; that of classic_segment builds
REFUSED = ("segment", "bf16")
FORMS = {"dynamic": True, "static": False}
BUILDS = [
    (name, precision)
    for name in TRAINED
    if name not in NEEDS_A_GPU
    for precision in SHARES
    if (name, precision) != REFUSED
]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], Path]:
    """The fixture as an ONNX file for TensorRT-RTX, converted once."""
    made: dict[tuple[str, bool], Path] = {}

    def convert(name: str, dynamic: bool) -> Path:
        model = TRAINED[name]
        pytest.importorskip(model.framework, reason=f"the adapter {model.adapter} needs it")
        if (name, dynamic) not in made:
            folder = tmp_path_factory.mktemp(name)
            path = folder / "model.onnx"
            options = {"target": "rtx", "to": "onnx", "verify": "none", **({} if dynamic else {"batch": 2})}
            report = adaptrt.convert(
                model.write(folder), adapter=model.adapter, output=path, html=False, **{**model.options, **options}
            )
            assert report.spec is not None
            assert report.spec.inputs[0].dims[0].dynamic == dynamic
            made[name, dynamic] = path
        return made[name, dynamic]

    return convert


@pytest.mark.parametrize("dynamic", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("name", "precision"), BUILDS)
def test_trained_models(
    graph: Callable[[str, bool], Path], images: Path, name: str, precision: str, dynamic: bool, tmp_path: Path
) -> None:
    report = adaptrt.build(
        graph(name, dynamic),
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


@pytest.mark.parametrize(("name", "operator"), NEEDS_A_GPU.items())
def test_a_model_that_needs_a_gpu_is_refused(
    graph: Callable[[str, bool], Path], name: str, operator: str, tmp_path: Path
) -> None:
    if find_gpus()[0]:
        pytest.skip("this machine has a GPU")
    with pytest.raises(AdaptrtError, match=operator) as caught:
        adaptrt.build(graph(name, False), output=tmp_path / "best.rtx.engine", to="rtx", verify="none", html=False)
    assert "requires a CUDA device" in f"{caught.value.message} {caught.value.hint}"
    assert not list(tmp_path.glob("*.engine"))


@pytest.mark.parametrize("dynamic", FORMS.values(), ids=FORMS)
def test_bfloat16_of_a_transposed_convolution_is_refused(
    graph: Callable[[str, bool], Path], dynamic: bool, tmp_path: Path
) -> None:
    name, precision = REFUSED
    path = tmp_path / "best.rtx.engine"
    with pytest.raises(AdaptrtError, match="Could not infer output types for operation: .* deconv"):
        adaptrt.build(graph(name, dynamic), output=path, to="rtx", precision=precision, verify="none", html=False)
    assert not list(tmp_path.glob("*.engine"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What int8 is calibrated on here: ranges do not decide what is built."""
    from adaptrt.vision.examples import image_noise
    from adaptrt.vision.images import write_image

    folder = tmp_path_factory.mktemp("images")
    for seed in range(2):
        write_image(folder / f"{seed}.png", image_noise(np.random.default_rng(seed), (256, 320)))
    return folder


@pytest.mark.parametrize("dynamic", ["batch", "batch,hw"])
def test_nms_in_the_graph(dynamic: str, tmp_path: Path) -> None:
    pytest.importorskip("ultralytics", reason="the adapter yolov5 needs it")
    shared: dict[str, Any] = {"to": "onnx,rtx", "verify": "none", "html": False}
    converted = adaptrt.convert(
        TRAINED["yolov5"].write(tmp_path), adapter="yolov5", output=tmp_path / "best.onnx", imgsz=320, batch="1:2:4",
        dynamic=dynamic, target="rtx", nms=True, **shared,
    )  # fmt: skip
    half = tmp_path / "half.rtx.engine"
    built = adaptrt.build(tmp_path / "best.onnx", output=half, precision="fp16", **{**shared, "to": "rtx"})
    for report, path in ((converted, tmp_path / "best.rtx.engine"), (built, half)):
        assert not {finding.rule for finding in report.findings if finding.severity == "error"}
        manifest = find_manifest(path)
        assert manifest is not None
        assert [output.name for output in manifest.spec.outputs] == [
            "num_dets", "det_boxes", "det_scores", "det_classes", "nms_converged",
        ]  # fmt: skip
