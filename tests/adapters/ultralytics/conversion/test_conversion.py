"""The road from a checkpoint to a verified ONNX file, for every network the adapters name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import adaptrt
from adaptrt import Detections, Report

# what the design forbids in a graph of fixed size
SHAPE_ARITHMETIC = {"Shape", "Gather", "Range", "Expand", "ScatterND", "NonZero", "ConstantOfShape", "Size"}


def test_the_trained_network_passes_every_link(converted: Report) -> None:
    assert converted.status == "passed"
    assert [link.status for link in converted.links] == ["passed"] * 3 + ["not run"] * 2 + ["passed"]
    assert converted.exporter == "torchscript"


def test_its_graph_has_no_shape_arithmetic(converted: Report) -> None:
    operators = converted.operators["final"]
    assert not SHAPE_ARITHMETIC & set(operators)
    assert sum(operators.values()) <= 261
    assert "Transpose" not in operators  # the expected distance of a box is one product, in the order that is there


def test_only_the_batch_is_symbolic(converted: Report) -> None:
    assert converted.onnx is not None
    graph = onnx.load(converted.onnx).graph
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 3, 640, 640]
    dims = [dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim]
    assert dims == ["batch", 8, 8400]
    assert converted.spec is not None
    assert converted.spec.outputs[0].dims == ("batch", 8, 8400)


@pytest.mark.full
def test_every_patch_is_needed(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the function patches the graph of a fixed size reads shapes: when upstream mends that, they can go."""
    from adaptrt_ultralytics import head_patches

    found = head_patches.network_patches
    monkeypatch.setattr(head_patches, "network_patches", lambda model, spec: found(model, spec)[:1])
    report = adaptrt.convert(
        trained, adapter="yolov5", output=tmp_path, verify="none", batch=(1, 2, 4), imgsz=320, simplify=False
    )
    assert SHAPE_ARITHMETIC & set(report.operators["exported"])
    assert sum(report.operators["final"].values()) > 261


@pytest.mark.full
def test_the_dynamo_exporter_gives_a_clean_graph_too(trained: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(trained, adapter="yolov5", output=tmp_path, exporter="dynamo", batch=(1, 2, 4), imgsz=320)
    assert report.status == "passed"
    assert report.exporter == "dynamo"
    assert not SHAPE_ARITHMETIC & set(report.operators["final"])
    assert sum(report.operators["final"].values()) <= 261


@pytest.mark.full
def test_height_and_width_can_be_dynamic(trained: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        trained, adapter="yolov5", output=tmp_path, shape="images=1..2@1x3x192..384@256x192..448@320", verify="full"
    )
    assert report.status == "passed"
    runner = adaptrt.load(tmp_path / "yolov5n_shapes.onnx").runner
    for height, width in ((192, 448), (384, 192), (256, 320)):
        (output,) = runner.run({"images": np.zeros((2, 3, height, width), np.float32)}).values()
        assert output.shape == (2, 8, sum(height // s * (width // s) for s in (8, 16, 32)))


@pytest.mark.full
@pytest.mark.parametrize("name", ["yolov5n-p6", "yolov8n", "yolo11n", "yolo12n"])
def test_relatives_pass(name: str, make_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    report = adaptrt.convert(
        make_checkpoint(name), adapter="yolo", output=tmp_path, imgsz=320, batch=(1, 2, 3), verify="quick", html=False
    )
    assert [report.link(number).status for number in (1, 2)] == ["passed", "passed"]
    assert not SHAPE_ARITHMETIC & set(report.operators["final"])


@pytest.mark.full
def test_a_name_of_a_config_is_converted_with_random_weights(tmp_path: Path) -> None:
    report = adaptrt.convert("yolov5n", adapter="yolov5", output=tmp_path, imgsz=320, verify="quick", batch=1)
    assert report.onnx == tmp_path / "yolov5n.onnx"


def test_a_classic_checkpoint_passes(classic: Path, bus: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(classic, adapter="yolov5", output=tmp_path, image=bus, batch=(1, 2, 4))
    assert report.status == "passed"
    assert not SHAPE_ARITHMETIC & set(report.operators["final"])
    assert report.spec is not None
    assert report.spec.labels == ("helmet", "vest")
    assert report.spec.outputs[0].dims == ("batch", 25200, 7)
    assert "not available" in report.link(0).reason


@pytest.mark.full
def test_a_classic_checkpoint_passes_at_dynamic_sizes(classic: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        classic, adapter="yolov5", output=tmp_path, shape="images=1..2x3x192..320@256x256..320@320"
    )
    assert report.status == "passed"


@pytest.mark.parametrize(
    ("batch", "arguments"), [((1, 2, 4), {"rect": False}), pytest.param(1, {}, marks=pytest.mark.full)]
)
def test_the_file_runs_in_ultralytics_itself(
    batch: int | tuple[int, ...], arguments: dict[str, bool], trained: Path, bus: Path, tmp_path: Path
) -> None:
    """Same boxes as ours from the file, by their letterbox, their decoding, their NMS; the image is no square.

    Whatever the metadata says, their loader (8.4.190) takes a symbolic batch for dynamic height and width and cuts the
    letterbox to a rectangle, which a graph of fixed size refuses: there ``rect=False`` has to be said.
    """
    from ultralytics import YOLO

    from adaptrt.tasks.detect.agreement import match_boxes

    file = tmp_path / "ours.onnx"
    adaptrt.convert(trained, adapter="yolov5", output=file, batch=batch, verify="quick", html=False)
    (ours,) = adaptrt.load(file)(bus)
    result = YOLO(str(file), task="detect")(str(bus), verbose=False, **arguments)[0]
    boxes = result.boxes.cpu().numpy()
    theirs = Detections(boxes.xyxy.astype(np.float32), boxes.conf.astype(np.float32), boxes.cls.astype(np.int64))
    assert isinstance(ours, Detections)
    assert len(ours) == len(theirs) > 2
    pairs = match_boxes(ours, theirs, iou=0.99)
    assert len(pairs) == len(ours)
    assert max(abs(float(ours.scores[a]) - float(theirs.scores[b])) for a, b in pairs) < 1e-3
    assert result.names == {0: "circle", 1: "square", 2: "triangle", 3: "star"}


@pytest.mark.full
def test_options_reach_decoder_and_framework(trained: Path, shapes_image: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        trained,
        adapter="yolov5",
        output=tmp_path,
        image=shapes_image,
        options={"conf": "0.9", "max_det": "2"},
        batch=1,
        imgsz=320,
    )
    assert report.spec is not None
    assert report.spec.decoder is not None
    assert report.spec.decoder.params.items() >= {"conf": 0.9, "max_det": 2, "agnostic": False}.items()
    assert report.link(0).status == "passed"
    assert len(report.images[0].predictions["onnxruntime"].data["scores"]) <= 2


@pytest.mark.full
@pytest.mark.parametrize("options", [{"classes": "circle,3"}, {"agnostic": "1", "iou": "0.5"}])
def test_the_framework_is_asked_with_the_same_parameters(
    options: dict[str, str], trained: Path, shapes_image: Path, tmp_path: Path
) -> None:
    report = adaptrt.convert(
        trained,
        adapter="yolov5",
        output=tmp_path,
        image=shapes_image,
        options=options,
        batch=1,
        imgsz=320,
        verify="quick",
        html=False,
    )
    assert report.link(0).status == "passed"
    labels = report.images[0].predictions["framework"].data["labels"]
    assert labels
    assert "classes" not in options or set(labels) <= {0, 3}


@pytest.mark.full
def test_an_image_that_the_framework_does_not_read(trained: Path, shapes_image: Path, tmp_path: Path) -> None:
    """Ultralytics gets the pixels of an ``.npy`` file."""
    import cv2

    np.save(tmp_path / "image.npy", cv2.imread(str(shapes_image))[..., ::-1])
    report = adaptrt.convert(
        trained,
        adapter="yolov5",
        output=tmp_path,
        image=tmp_path / "image.npy",
        batch=1,
        imgsz=320,
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert len(report.images[0].predictions["framework"].data["scores"]) > 2


@pytest.mark.full
def test_names_can_be_changed(trained: Path, shapes_image: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(
        trained,
        adapter="yolov5",
        output=tmp_path / "renamed.onnx",
        image=shapes_image,
        input_names=["pixels"],
        output_names=["detections"],
        batch=1,
        imgsz=320,
    )
    assert report.spec is not None
    assert [tensor.name for tensor in (*report.spec.inputs, *report.spec.outputs)] == ["pixels", "detections"]
    (found,) = adaptrt.load(tmp_path / "renamed.onnx")(shapes_image)
    assert len(found) > 2


@pytest.mark.full
def test_sizes_are_rounded_up_to_the_stride(trained: Path, tmp_path: Path) -> None:
    report = adaptrt.convert(trained, adapter="yolov5", output=tmp_path, imgsz=(250, 310), verify="none")
    assert report.spec is not None
    assert report.spec.image_size == (256, 320)
    assert any("rounded up" in warning for warning in report.warnings)
