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
    assert "imgsz" in str(caught.value)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_other_exporter_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"requires the TorchScript exporter: .*_shape_as_tensor") as caught:
        converted(tmp_path, CONFIGS[name], exporter="dynamo")
    assert 'exporter="torchscript"' in str(caught.value)


def test_dino_differs_from_itself_only_in_the_order_of_its_best_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """DINO gives the cell of rank i query i. Of many cells, some have scores so close that one rounding error exchanges their queries: the
    boxes are then others, in mmdet itself as in the patched model. With the order fixed, all agree."""
    from adaptrt.patching import applied
    from adaptrt.plugins.facade import Contributed
    from adaptrt_mmdet.build import build_detector
    from adaptrt_mmdet.configs import load_config
    from adaptrt_mmdet.deformable import deformable_patches
    from adaptrt_mmdet.query_family import QueryDetector
    from adaptrt_mmdet.sources import Source

    config = load_config(CONFIGS["DINO"], {**NARROW, "model.num_queries": "900"})
    model = QueryDetector(Source(config, None, perturb(build_detector(config, None)))).eval()
    orders: list[torch.Tensor] = []
    forced: list[torch.Tensor] = []
    original = torch.topk

    def topk(values: torch.Tensor, k: int, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        best, order = original(values, k, dim=dim)
        if forced:
            order = forced[0]
            best = values.gather(dim, order)
        orders.append(order)
        return best, order

    monkeypatch.setattr(torch, "topk", topk)

    def run(images: torch.Tensor, order: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        forced[:] = [] if order is None else [order]
        with torch.inference_mode():
            found: tuple[torch.Tensor, ...] = model(images)
        return found

    def difference(ours: tuple[torch.Tensor, ...], theirs: tuple[torch.Tensor, ...]) -> float:
        return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 224, 288, generator=generator)
    reference = run(images)
    (order,) = orders
    exchanged = False
    for _ in range(8):
        moved = images + 2**-23 * images.abs().max() * torch.randn(images.shape, generator=generator)
        free = difference(run(moved), reference)
        differs = not torch.equal(orders[-1], order)
        assert (free > 0.05) is differs
        assert difference(run(moved, order), reference) < 5e-3
        exchanged = exchanged or differs
        if exchanged:
            break
    assert exchanged
    patches = [Contributed(patch, "test") for patch in deformable_patches()]
    with applied(model, patches):
        assert difference(run(images, order), reference) < 5e-3
