"""Deformable convolutions of mmcv: computed by torchvision, exported as ONNX's DeformConv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import adaptrt
from adaptrt.patching import applied, require_called
from adaptrt.plugins.facade import Contributed
from adaptrt_mmdet.deformable_convolution import convolution_patches
from adaptrt_mmdet.stand_in import ensure_ops, has_compiled_ops

DCN = {
    "cfg.model.backbone.dcn.type": "DCNv2",
    "cfg.model.backbone.dcn.deform_groups": "1",
    "cfg.model.backbone.dcn.fallback_on_stride": "False",
    "cfg.model.backbone.stage_with_dcn": "(False,False,False,True)",
}


def network() -> torch.nn.Module:
    """Both kinds, with offsets that matter."""
    ensure_ops()
    from mmcv.ops import DeformConv2dPack, ModulatedDeformConv2dPack

    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        DeformConv2dPack(4, 6, 3, padding=1, deform_groups=2),
        ModulatedDeformConv2dPack(6, 4, 3, stride=2, padding=1, bias=True),
    )
    for parameter in layers.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape)
    return layers.eval()


def test_without_offsets_it_is_a_convolution() -> None:
    if has_compiled_ops():
        pytest.skip("the compiled ops are installed")
    layers: Any = network()
    for layer in layers:
        for parameter in layer.conv_offset.parameters():
            parameter.data.zero_()
    images = torch.randn(2, 4, 8, 10)
    plain, modulated = layers
    with torch.inference_mode():
        first = torch.nn.functional.conv2d(images, plain.weight, padding=1)
        second = torch.nn.functional.conv2d(first, modulated.weight / 2, modulated.bias, 2, 1)  # the mask is sigmoid(0)
        assert torch.allclose(layers(images), second, atol=1e-5)


@pytest.mark.parametrize("opset", [19])
def test_the_exported_graph_is_the_model(opset: int, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the graph is run")
    layers = network()
    images = torch.randn(2, 4, 8, 10)
    with torch.inference_mode():
        expected = layers(images).numpy()
        patches = [Contributed(patch, "test") for patch in convolution_patches(layers)]
        assert len(patches) == 2
        with applied(layers, patches) as records:
            assert np.abs(layers(images).numpy() - expected).max() < 1e-5
            torch.onnx.export(
                layers,
                (images,),
                str(tmp_path / "out.onnx"),
                opset_version=opset,
                dynamo=False,
                input_names=["x"],
                dynamic_axes={"x": {0: "batch"}},
            )
            require_called(records)
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": images.numpy()})
    assert np.abs(found - expected).max() < 1e-4
    (one,) = session.run(None, {"x": images[1:].numpy()})
    assert np.abs(one - expected[1:]).max() < 1e-4


def sampled(image: np.ndarray, row: float, column: float) -> float:
    """Bilinear, zero outside, as mmcv's kernels."""
    found = 0.0
    top, left = int(np.floor(row)), int(np.floor(column))
    for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
            found += (1 - abs(row - y)) * (1 - abs(column - x)) * float(image[y, x])
    return found


@pytest.mark.parametrize("groups", [1, 2])
def test_offsets_of_a_larger_map_are_read_as_by_mmcv(groups: int, tmp_path: Path) -> None:
    """mmcv's kernels index the memory of each sample with the size of the result, whatever the size of the offsets: DyHead has those of a
    level twice as large. The expected values are computed from that memory, element by element."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the graph is run")
    if has_compiled_ops():
        pytest.skip("the compiled ops are installed")
    ensure_ops()
    from mmcv.ops import ModulatedDeformConv2d

    torch.manual_seed(0)
    rows, columns, channels, points = 3, 4, 2, 9
    layer = ModulatedDeformConv2d(channels, 1, 3, padding=1, deform_groups=groups, bias=False).eval()

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, images: torch.Tensor, both: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.layer(images, both[:, : 18 * groups], both[:, 18 * groups :].sigmoid())
            return found

    images = torch.randn(2, channels, rows, columns)
    both = torch.randn(2, 27 * groups, 2 * rows, 2 * columns + 1)
    memory = [both[:, : 18 * groups].reshape(2, -1).numpy(), both[:, 18 * groups :].sigmoid().reshape(2, -1).numpy()]
    weight = layer.weight.detach().numpy()
    expected = np.zeros((2, 1, rows, columns))
    for sample, channel, row, column, point in np.ndindex(2, channels, rows, columns, points):
        group = channel // (channels // groups)
        first = (group * points + point) * rows * columns + row * columns + column
        place = group * 2 * points * rows * columns + 2 * point * rows * columns + row * columns + column
        y = row - 1 + point // 3 + memory[0][sample, place]
        x = column - 1 + point % 3 + memory[0][sample, place + rows * columns]
        if -1 < y < rows and -1 < x < columns:
            value = sampled(images[sample, channel].numpy(), y, x) * memory[1][sample, first]
            expected[sample, 0, row, column] += value * weight[0, channel, point // 3, point % 3]
    net = Net()
    with torch.inference_mode():
        np.testing.assert_allclose(net(images, both).numpy(), expected, atol=1e-5)
        with applied(net, [Contributed(patch, "test") for patch in convolution_patches(net)]):
            np.testing.assert_allclose(net(images, both).numpy(), expected, atol=1e-5)
            torch.onnx.export(
                net,
                (images, both),
                str(tmp_path / "out.onnx"),
                opset_version=19,
                dynamo=False,
                input_names=["x", "both"],
            )
    session = onnxruntime.InferenceSession(str(tmp_path / "out.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": images.numpy(), "both": both.numpy()})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(RuntimeError, match="offset output dims"), torch.inference_mode():
        net(images, both[:, :, :1])


@pytest.mark.full
def test_a_detector_with_deformable_convolutions(tmp_path: Path) -> None:
    """Opset 17 cannot express it: the error names the operator and the opset; TensorRT 8 does not take it."""
    arguments: dict[str, Any] = {
        "adapter": "mmdet",
        "imgsz": (64, 96),
        "options": DCN,
        "html": False,
        "target": "10",
    }
    with pytest.raises(adaptrt.ExportError, match="DeformConv") as caught:
        adaptrt.convert("atss_r50_fpn_1x_coco", output=tmp_path / "early.onnx", **arguments)
    assert "opset=19" in str(caught.value)
    report = adaptrt.convert("atss_r50_fpn_1x_coco", output=tmp_path / "out.onnx", opset=19, **arguments)
    assert report.link(2).status == "passed"
    assert report.operators["final"]["DeformConv"] == 3
