"""The anchor head as a graph: what it may contain, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")
onnx = pytest.importorskip("onnx", reason="needs onnx")
ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

from adaptrt_ultralytics.classic.head import AnchorDetect  # noqa: E402

ANCHORS = torch.tensor([[[10.0, 13], [16, 30]], [[30, 61], [62, 45]]])


class Head(torch.nn.Module):
    """Two feature maps out of one image, so that the head has one input."""

    def __init__(self) -> None:
        super().__init__()
        convs = [torch.nn.Conv2d(3, 2 * 8, 1), torch.nn.Conv2d(3, 2 * 8, 1)]
        self.head = AnchorDetect(convs, ANCHORS, torch.tensor([8.0, 16.0]), nc=3)
        self.pools = torch.nn.ModuleList([torch.nn.AvgPool2d(8), torch.nn.AvgPool2d(16)])

    def forward(self, images: Any) -> Any:
        return self.head([pool(images) for pool in self.pools])


def fix(head: AnchorDetect, height: int, width: int) -> None:
    """What the patch of a fixed size does."""
    for name, value in head.constants(height, width).items():
        setattr(head, name, value)


def exported(model: torch.nn.Module, path: Path, axes: dict[int, str]) -> Any:
    images = torch.rand(2, 3, 64, 96)
    options: dict[str, Any] = {
        "dynamo": False,
        "opset_version": 17,
        "input_names": ["images"],
        "output_names": ["output0"],
    }
    torch.onnx.export(model, (images,), path, dynamic_axes={"images": axes, "output0": {0: "batch"}}, **options)
    return onnx.load(path)


def difference(model: torch.nn.Module, path: Path, *shape: int) -> float:
    images = torch.rand(*shape)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        return float((torch.from_numpy(found) - model(images)).abs().max())


def test_fixed_size_has_no_shape_arithmetic(tmp_path: Path) -> None:
    model = Head().eval()
    fix(model.head, 64, 96)
    graph = exported(model, tmp_path / "head.onnx", {0: "batch"}).graph
    assert not {node.op_type for node in graph.node} & {
        "Shape",
        "Gather",
        "Range",
        "Expand",
        "ScatterND",
        "Cast",
        "Tile",
    }
    inferred = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "head.onnx")).graph
    assert max(len(value.type.tensor_type.shape.dim) for value in inferred.value_info) == 4
    assert difference(model, tmp_path / "head.onnx", 3, 3, 64, 96) < 1e-3


def test_dynamic_size_follows_the_input(tmp_path: Path) -> None:
    model = Head().eval()
    model.head.dynamic = True
    exported(model, tmp_path / "head.onnx", {0: "batch", 2: "height", 3: "width"})
    for shape in ((2, 3, 64, 96), (1, 3, 128, 32), (3, 3, 32, 160)):
        assert difference(model, tmp_path / "head.onnx", *shape) < 1e-3


def test_a_fixed_grid_is_used_only_for_its_size() -> None:
    model = Head().eval()
    images = torch.rand(1, 3, 128, 64)
    with torch.no_grad():
        expected = model(images)
        fix(model.head, 64, 128)
        assert torch.equal(model(images), expected)


def test_boxes_stay_float32_in_a_half_network() -> None:
    head = Head().eval().head
    features = [torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 4)]
    for conv in head.m:
        conv.half()
    with torch.no_grad():
        assert head([feature.half() for feature in features]).dtype == torch.float32
