"""Deformable-DETR and DINO, narrow: whole conversions through TorchScript, the other exporter refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from narrow_detr import perturb

import adaptrt
from adaptrt import Report, UsageError

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

CONFIGS = {
    "DeformableDETR": "deformable-detr_r50_16xb2-50e_coco",
    "two stages": "deformable-detr-refine-twostage_r50_16xb2-50e_coco",
    "DINO": "dino-4scale_r50_8xb2-12e_coco",
}
NARROW = {
    "model.backbone.depth": "18",
    "model.backbone.base_channels": "8",
    "model.neck.in_channels": "[16,32,64]",
    "model.num_queries": "12",
    "model.encoder.num_layers": "1",
    "model.decoder.num_layers": "2",
    "model.bbox_head.num_classes": "4",
}


def converted(tmp_path: Path, config: str, **request: object) -> Report:
    """With perturbed weights, at 96 x 128 unless asked otherwise."""
    from adaptrt_mmdet.build import build_detector
    from adaptrt_mmdet.configs import load_config

    detector = perturb(build_detector(load_config(config, NARROW), None))
    torch.save({"state_dict": detector.state_dict()}, tmp_path / "weights.pth")
    options = {f"cfg.{key}": value for key, value in NARROW.items()}
    given = {"imgsz": (96, 128), "batch": "1:2:3", **request}
    return adaptrt.convert(
        config,
        adapter="detr",
        weights=tmp_path / "weights.pth",
        output=tmp_path / "out.onnx",
        options=options,
        html=False,
        **given,  # type: ignore[arg-type]
    )


@pytest.mark.full
@pytest.mark.parametrize("name", ["DeformableDETR", "two stages", "DINO"])
def test_the_exporter_is_chosen_and_the_model_kept(name: str, tmp_path: Path) -> None:
    report = converted(tmp_path, CONFIGS[name])
    assert report.exporter == "torchscript"
    assert report.link(2).status == "passed"
    assert "batches 2, 3" in report.link(2).reason
    assert report.spec is not None
    assert report.spec.outputs[0].dims == ("batch", 12, 4)


def test_a_dynamic_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="DeformableDETR requires a fixed height and width") as caught:
        converted(tmp_path, CONFIGS["DeformableDETR"], imgsz=None, batch=None, shape="images=1x3x64..128x64..160")
    assert "--imgsz" in str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_other_exporter_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"requires the TorchScript exporter: .*_shape_as_tensor") as caught:
        converted(tmp_path, CONFIGS[name], exporter="dynamo")
    assert "--exporter torchscript" in str(caught.value)
