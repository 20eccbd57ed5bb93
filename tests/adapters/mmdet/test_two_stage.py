"""Two-stage detectors as static graphs, compared with mmdet's own predict on images of drawn shapes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from draw_shapes import draw_detection_image
from train_mask_rcnn import CONFIG, FIXTURE, HELD_OUT_SEED, LOOK, MEAN, SIZE, STD

import adaptrt
from adaptrt import Conversion, ModelError, Request, ShapeRequest, UsageError
from adaptrt.vision.decoders.box_masks import paste
from adaptrt_mmdet.highest import highest
from adaptrt_mmdet.options import OneAndTwoStageOptions
from adaptrt_mmdet.sources import open_source
from adaptrt_mmdet.two_stage_family import two_stage_spec, wrap_two_stage

torchvision_roi_align = torchvision.ops.roi_align
FORBIDDEN = {"NonMaxSuppression", "NonZero", "Loop", "If"}
SMALL = {
    "model.backbone.depth": "18",
    "model.backbone.base_channels": "16",
    "model.neck.in_channels": "[16,32,64,128]",
    "model.test_cfg.rpn.nms_pre": "200",
    "model.test_cfg.rpn.max_per_img": "60",
}


def classes(*heads: str) -> dict[str, str]:
    """Eight classes, for a box head whose loss turns its outputs into scores."""
    names = [name for head in heads for name in (head, f"{head}.loss_cls") if name != "mask_head.loss_cls"]
    return {f"model.roi_head.{name}.num_classes": "8" for name in names}


def opened(source: str, tmp_path: Path, weights: Path | None = None, **options: Any) -> Any:
    """A wrapped detector; 60 rounds of NMS, since random weights leave crowds of proposals."""
    ctx = Conversion(
        Request(source, "mmdet", weights=weights, shapes=ShapeRequest(imgsz=(SIZE, SIZE))),
        OneAndTwoStageOptions(**{"nms_rounds": 60, **options}),
        tmp_path,
    )
    return wrap_two_stage(open_source(ctx), ctx.options).eval(), ctx


def images(count: int) -> torch.Tensor:
    drawn = [draw_detection_image(HELD_OUT_SEED, index, LOOK).image[..., ::-1] for index in range(count)]
    pixels = torch.from_numpy(np.stack(drawn).transpose(0, 3, 1, 2).copy()).float()
    return (pixels - MEAN) / STD


def mmdet_results(detector: Any, pixels: torch.Tensor) -> list[Any]:
    from mmdet.structures import DetDataSample

    samples = []
    for _ in pixels:
        sample = DetDataSample()
        shape = {name: tuple(pixels.shape[2:]) for name in ("img_shape", "ori_shape", "batch_input_shape", "pad_shape")}
        sample.set_metainfo({**shape, "scale_factor": (1.0, 1.0)})
        samples.append(sample)
    return [sample.pred_instances for sample in detector.predict(pixels, samples)]


def same_as_mmdet(model: Any, pixels: torch.Tensor) -> int:
    """Every detection, in order; how many there are."""
    with torch.inference_mode():
        expected = mmdet_results(model.source.detector, pixels)
        counts, boxes, scores, labels, converged, *masks = model(pixels)
    assert converged.all(), "more rounds are needed"
    for row, wanted in enumerate(expected):
        count = int(counts[row])
        assert count == len(wanted.scores)
        assert torch.allclose(scores[row, :count], wanted.scores, atol=1e-5)
        assert torch.allclose(boxes[row, :count], wanted.bboxes, atol=1e-2)
        assert torch.equal(labels[row, :count].long(), wanted.labels.long())
        assert not scores[row, count:].any()
        for index in range(count if masks else 0):
            ours = paste(masks[0][row, index].numpy(), boxes[row, index].numpy(), (SIZE, SIZE), 0.5)
            theirs = wanted.masks[index].numpy()
            # a mask is compared by its pixels; two may lie within a rounding error of the threshold
            assert (ours.in_image((SIZE, SIZE)) != theirs).sum() <= 2
    return int(counts.sum())


def test_the_trained_mask_rcnn_finds_what_mmdet_finds(tmp_path: Path) -> None:
    """All that passes the config's low threshold, boxes, scores, classes and masks."""
    model, _ = opened(str(FIXTURE), tmp_path)
    pixels = images(2)
    assert same_as_mmdet(model, pixels) > 40
    with torch.inference_mode():
        scores = model(pixels)[2]
    assert ((scores > 0.5).sum(1) >= 2).all(), "it is trained: sure of some objects in every image"


def tensorrt_roi_align(
    feature: torch.Tensor, rois: torch.Tensor, size: Any, scale: float, sampling: int, aligned: bool
) -> torch.Tensor:
    """RoIAlign as TensorRT's plugin computes it in half precision: a bin without samples is 0 / 0."""
    cells = (rois[:, 1:].half() * scale) - 0.5
    empty = (cells[:, 2:] <= cells[:, :2]).any(1)
    found: torch.Tensor = torchvision_roi_align(feature, rois, size, scale, sampling, aligned)
    return torch.where(empty.view(-1, 1, 1, 1), torch.nan, found)


def test_an_empty_roi_does_not_change_other_detections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proposal that is clipped to a line, and the rows of ``det_boxes`` beyond ``num_dets``, which are zeros."""
    model, _ = opened(str(FIXTURE), tmp_path)
    pixels, found_by_rpn = images(2), model.proposals

    def with_a_line(*given: Any) -> Any:
        boxes, *rest = found_by_rpn(*given)
        boxes[:, -1, 3] = boxes[:, -1, 1]
        return boxes, *rest

    monkeypatch.setattr(model, "proposals", with_a_line)
    with torch.inference_mode():
        expected = model(pixels)
        monkeypatch.setattr(torchvision.ops, "roi_align", tensorrt_roi_align)
        found = model(pixels)
    assert (expected[0] < expected[1].shape[1]).all(), "there are rows of zeros"
    for wanted, given in zip(expected, found, strict=True):
        torch.testing.assert_close(given, wanted, rtol=0, atol=1e-4)


@pytest.mark.full
@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ("faster-rcnn_r50_fpn_1x_coco", SMALL),
        ("mask-rcnn_r50_fpn_1x_coco", SMALL),
        ("cascade-rcnn_r50_fpn_1x_coco", SMALL),
        ("cascade-mask-rcnn_r50_fpn_1x_coco", SMALL),
        ("rpn_r50_fpn_1x_coco", SMALL),
        ("dynamic-rcnn_r50_fpn_1x_coco", SMALL),
        ("mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1", {**SMALL, **classes("bbox_head", "mask_head")}),
        (
            "cascade_rcnn_r50_fpn_8x4_sample1e-3_mstrain_v3det_2x",
            {**SMALL, **classes("bbox_head.0", "bbox_head.1", "bbox_head.2")},
        ),
        (
            "faster-rcnn_r50-caffe_c4-1x_coco",
            {"model.test_cfg.rpn.nms_pre": "100", "model.test_cfg.rpn.max_per_img": "20"},
        ),
    ],
)
def test_configs_of_the_wheel(config: str, changes: dict[str, str], tmp_path: Path) -> None:
    model, _ = opened(config, tmp_path, cfg=changes)
    enliven(model.detector)
    assert same_as_mmdet(model, images(2)) > 20


@pytest.mark.full
def test_a_whole_conversion(tmp_path: Path) -> None:
    """Of an image that does not fill the tensor, with mmdet's own pipeline as link 0."""
    import cv2
    import onnx

    look = replace(LOOK, square_images=False)
    drawn = (draw_detection_image(HELD_OUT_SEED, index, look).image for index in range(20))
    image = next(one for one in drawn if one.shape[0] != one.shape[1])
    cv2.imwrite(str(tmp_path / "image.png"), image)
    report = adaptrt.convert(
        FIXTURE,
        adapter="mmdet",
        output=tmp_path / "out.onnx",
        batch="1:2:3",
        image=tmp_path / "image.png",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    operators = Counter(node.op_type for node in onnx.load(str(tmp_path / "out.onnx")).graph.node)
    assert not FORBIDDEN & set(operators)
    assert any("torchvision" in note for note in report.notes)
    with adaptrt.load(tmp_path / "out.onnx") as model:
        (found,) = model([image])
    assert len(found.masks) == len(found) > 3


def enliven(detector: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in detector.named_parameters():
        scale = next((scale for part, scale in SCALES.items() if part in name), 0.0)
        parameter.data += scale * torch.randn(parameter.shape, generator=generator)


SCALES = {"rpn_cls": 0.3, "fc_cls": 0.3, "rpn_reg": 0.02, "fc_reg": 0.02}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model.rpn_head.bbox_coder.type": "LegacyDeltaXYWHBBoxCoder"}, r"LegacyDeltaXYWHBBoxCoder \(box coder\)"),
        ({"model.test_cfg.rcnn.nms.type": "soft_nms"}, r"requests soft_nms \(rcnn\)"),
    ],
)
def test_other_parts_are_refused_by_name(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        opened(str(CONFIG), tmp_path, cfg=changes)


@pytest.mark.full
@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("fast-rcnn_r50_fpn_1x_coco", "FastRCNN is not supported: it has no RPN"),
        ("ga-faster-rcnn_r50_fpn_1x_coco", r"GARPNHead \(RPN\) is not supported"),
        ("panoptic-fpn_r50_fpn_1x_coco", r"PanopticFPN is not supported: missing is semantic segmentation"),
    ],
)
def test_detectors_of_another_kind_are_refused_by_name(config: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=words):
        opened(config, tmp_path)


def test_a_dynamic_size_and_raw_outputs_are_refused(tmp_path: Path) -> None:
    from adaptrt.specs import parse_dynamic

    model, ctx = opened(str(CONFIG), tmp_path)
    shapes = ShapeRequest(dynamic=parse_dynamic("hw"))
    with pytest.raises(UsageError, match="requires a fixed height and width"):
        two_stage_spec(replace(ctx, request=replace(ctx.request, shapes=shapes)), model)
    with pytest.raises(UsageError, match="raw=true is not supported for a two-stage detector"):
        opened(str(CONFIG), tmp_path, raw=True)


def test_equal_scores_are_ranked_by_index_in_torch_and_in_the_graph(tmp_path: Path) -> None:
    """``torch.topk`` ranks them in no order, mmdet's sort and ONNX's TopK by index."""
    import onnxruntime

    scores = (torch.rand(2, 3000, generator=torch.Generator().manual_seed(0)) * 8).floor() / 8
    expected = torch.from_numpy(np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :500].copy())
    assert not torch.equal(scores.topk(500, dim=1).indices, expected)
    best, index = highest(scores, 500)
    assert torch.equal(index, expected)
    assert torch.equal(best, scores.gather(1, expected))

    class Ranks(torch.nn.Module):
        def forward(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return highest(scores, 500)

    torch.onnx.export(Ranks(), (scores,), str(tmp_path / "ranks.onnx"), input_names=["scores"], dynamo=False)
    session = onnxruntime.InferenceSession(tmp_path / "ranks.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"scores": scores.numpy()})[1], expected.numpy())
