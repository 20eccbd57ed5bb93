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
    assert "--opset 19" in str(caught.value)
    report = adaptrt.convert("atss_r50_fpn_1x_coco", output=tmp_path / "out.onnx", opset=19, **arguments)
    assert report.link(2).status == "passed"
    assert report.operators["final"]["DeformConv"] == 3
