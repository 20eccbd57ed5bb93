"""One-stage detectors: boxes and scores decoded in the graph, raw heads in numpy; compared with mmdet's own predict_by_feat."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from adaptrt import Conversion, Detections, ImageMeta, ModelError, Request, ShapeRequest
from adaptrt.patching import applied, require_called
from adaptrt.plugins.facade import Contributed
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_batch
from adaptrt_mmdet.configs import find_config
from adaptrt_mmdet.dense_family import dense_patches, dense_spec, wrap_dense
from adaptrt_mmdet.framework import complete_head, note_completed_head, set_thresholds
from adaptrt_mmdet.options import MmdetOptions
from adaptrt_mmdet.sources import Source, open_source

SIZE = (128, 160)
SIZES = {"ssd300_coco": (300, 300)}  # its extra layers have no padding
SMALL = {"model.backbone.depth": "18", "model.neck.in_channels": "[64,128,256,512]"}
CONFIGS: dict[str, dict[str, str]] = {
    "retinanet_r18_fpn_1x_coco": {},
    "fcos_r50-caffe_fpn_gn-head_1x_coco": SMALL,
    "atss_r50_fpn_1x_coco": SMALL,
    "gfl_r50_fpn_1x_coco": SMALL,
    "yolox_tiny_8xb8-300e_coco": {},
    "rtmdet_tiny_8xb32-300e_coco": {},
}
DECODED = {
    **CONFIGS,
    "yolov3_mobilenetv2_8xb24-320-300e_coco": {},
    "ssd300_coco": {},
    "yolof_r50-c5_8xb8-1x_coco": {"model.backbone.depth": "18", "model.neck.in_channels": "512"},
    "fsaf_r50_fpn_1x_coco": SMALL,
    "autoassign_r50-caffe_fpn_1x_coco": SMALL,
    "freeanchor_r50_fpn_1x_coco": SMALL,
    "paa_r50_fpn_1x_coco": {**SMALL, "model.bbox_head.score_voting": "False"},
}
"""Their boxes and scores are decoded in the graph; the raw outputs of ``CONFIGS`` in numpy."""
NARROW = {
    "model.backbone.base_channels": "8",
    "model.neck.in_channels": "[8,16,32,64]",
    "model.neck.out_channels": "16",
    "model.bbox_head.in_channels": "16",
    "model.bbox_head.feat_channels": "16",
    "model.bbox_head.stacked_convs": "1",
    "model.bbox_head.num_classes": "3",
}
"""RetinaNet, small enough to be converted whole."""
EVERYDAY = {"retinanet_r18_fpn_1x_coco", "rtmdet_tiny_8xb32-300e_coco"}
"""With anchors and without; the others in the full suite."""


def opened(name: str, tmp_path: Path, *, raw: bool = False) -> tuple[Any, Any]:
    """The wrapped detector and its spec at ``SIZE``, or its own of ``SIZES``."""
    shapes = ShapeRequest(imgsz=SIZES.get(name, SIZE))
    # NMS takes most of the time, class by class
    options = MmdetOptions(cfg={"model.bbox_head.num_classes": "20", **DECODED.get(name, {})}, raw=raw)
    ctx = Conversion(Request(name, "mmdet", shapes=shapes), options, tmp_path)
    model = wrap_dense(open_source(ctx), raw=raw).eval()
    spec, _ = shapes.apply(dense_spec(ctx, model))
    return model, spec


def random_maps(model: Any, size: tuple[int, int]) -> list[list[torch.Tensor]]:
    """Maps of the head, drawn at random: no two scores alike, since among equals the order is undefined."""
    generator = torch.Generator().manual_seed(1)
    head = model.detector.bbox_head
    shapes = head(model.detector.extract_feat(torch.zeros(2, 3, *size)))
    maps = [[torch.randn(level.shape, generator=generator) for level in part] for part in shapes]
    if len(maps) > 1:
        maps[0] = [2 * level - 2 for level in maps[0]]
    if (
        type(getattr(head, "bbox_coder", None)).__name__ == "DistancePointBBoxCoder"
        and "GFL" not in type(head).__name__
    ):
        maps[1] = [20 * level.abs() for level in maps[1]]
    return maps


def mmdet_results(head: Any, maps: list[list[torch.Tensor]], params: dict[str, Any], size: tuple[int, int]) -> Any:
    set_thresholds(head, params)
    complete_head(SimpleNamespace(bbox_head=head))
    metas = [{"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)}] * 2
    copies = [[level.clone() for level in part] for part in maps]  # YOLOv3 decodes in place
    return head.predict_by_feat(*copies, batch_img_metas=metas, rescale=True)


def same_results(expected: Any, outputs: dict[str, Any], spec: Any, count: int) -> None:
    height, width = size = spec.image_size
    for theirs, ours in zip(expected, decode(outputs, [ImageMeta(size, size)] * 2, spec), strict=True):
        assert isinstance(ours, Detections)
        assert len(ours) == count
        assert np.allclose(ours.scores, theirs.scores.numpy()[:count], atol=1e-6)
        assert np.array_equal(ours.labels, theirs.labels.numpy()[:count])
        clipped = np.clip(theirs.bboxes.numpy()[:count], 0, (width, height) * 2)
        assert np.allclose(ours.boxes, clipped, atol=1e-3)


PARAMS = {"conf": 0.002, "iou": 0.4, "max_det": 80}
"""A threshold below mmdet's score_thr."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.full) for name in DECODED]
)
def test_the_graph_decodes_what_mmdet_decodes(name: str, tmp_path: Path) -> None:
    model, spec = opened(name, tmp_path)
    with torch.inference_mode():
        maps = random_maps(model, spec.image_size)
        boxes, scores = model.decode(maps, torch.zeros(2, 3, *spec.image_size))
        expected = mmdet_results(model.detector.bbox_head, maps, PARAMS, spec.image_size)
    outputs = {"boxes": boxes.numpy(), "scores": scores.numpy()}
    same_results(expected, outputs, spec.with_decoder_params(**PARAMS), 80)
    assert spec.decoder.name == "box_scores"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "retinanet_r18_fpn_1x_coco" else pytest.mark.full) for name in CONFIGS],
)
def test_numpy_decodes_raw_outputs(name: str, tmp_path: Path) -> None:
    model, spec = opened(name, tmp_path, raw=True)
    with torch.inference_mode():
        maps = random_maps(model, spec.image_size)
        raw = model.raw_outputs(maps)
        expected = mmdet_results(model.detector.bbox_head, maps, PARAMS, spec.image_size)
    outputs = dict(zip([output.name for output in spec.outputs], (part.numpy() for part in raw), strict=True))
    same_results(expected, outputs, spec.with_decoder_params(**PARAMS, nms_pre=-1), 80)
    assert spec.decoder.name == "dense"


def test_a_fixed_size_is_counted_before_the_export(tmp_path: Path) -> None:
    model, spec = opened("retinanet_r18_fpn_1x_coco", tmp_path)
    images = torch.randn(2, 3, *SIZE)
    with torch.inference_mode():
        expected = model(images)
        with applied(model, [Contributed(patch, "test") for patch in dense_patches(spec)]) as records:
            actual = model(images)
            require_called(records)
    assert all(torch.equal(one, other) for one, other in zip(expected, actual, strict=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("detr_r50_8xb2-150e_coco", "belongs to the DETR family"),
        ("paa_r50_fpn_1x_coco", "PAAHead is not supported: its score voting averages boxes after NMS"),
        ("solo_r50_fpn_1x_coco", "SOLO is not supported: missing is masks of grid cells that are ranked by Matrix NMS"),
        pytest.param(
            "solov2_r50_fpn_1x_coco", "SOLOv2 is not supported: missing is mask kernels of grid", marks=pytest.mark.full
        ),
        pytest.param(
            "yolact_r50_1xb8-55e_coco", "YOLACT is not supported: missing is Fast NMS", marks=pytest.mark.full
        ),
        pytest.param(
            "maskformer_r50_ms-16xb1-75e_coco",
            "MaskFormer is not supported: missing is the pixel decoder with a transformer encoder",
            marks=pytest.mark.full,
        ),
        pytest.param(
            "condinst_r50_fpn_ms-poly-90k_coco_instance",
            "CondInst is not supported: missing is mask kernels",
            marks=pytest.mark.full,
        ),
    ],
)
def test_others_are_refused_by_name(name: str, words: str, tmp_path: Path) -> None:
    assert find_config(name)
    with pytest.raises(ModelError, match=words):
        wrap_dense(open_source(Conversion(Request(name, "mmdet"), MmdetOptions(), tmp_path)))


def test_nms_of_another_kind_is_refused(tmp_path: Path) -> None:
    model, _ = opened("retinanet_r18_fpn_1x_coco", tmp_path)
    model.detector.bbox_head.test_cfg.nms.type = "soft_nms"
    with pytest.raises(ModelError, match="requests soft_nms"):
        wrap_dense(Source(model.source.config, None, model.detector))


@pytest.mark.parametrize(("channels", "mean"), [(1, "[100.0]"), pytest.param(5, "None", marks=pytest.mark.full)])
def test_images_of_other_channels(channels: int, mean: str, tmp_path: Path) -> None:
    """The number of channels is that of the first convolution; mmdet's preprocessor normalizes one or three."""
    changes = {
        "model.backbone.in_channels": str(channels),
        "model.data_preprocessor.mean": mean,
        "model.data_preprocessor.std": mean,
        "model.data_preprocessor.bgr_to_rgb": "False",
    }
    shapes = ShapeRequest(imgsz=(64, 96))
    options = MmdetOptions(cfg=changes)
    ctx = Conversion(Request("retinanet_r18_fpn_1x_coco", "mmdet", shapes=shapes), options, tmp_path)
    model = wrap_dense(open_source(ctx)).eval()
    spec, _ = shapes.apply(dense_spec(ctx, model))
    assert spec.image_channels == channels
    assert spec.image is not None
    assert spec.image.mean == ((100.0,) if channels == 1 else (0.0,))
    image = np.random.default_rng(0).integers(0, 256, (48, 80, channels), np.uint8)
    arrays, _ = transform_batch([image], spec)
    pixels = arrays["images"]
    assert pixels.shape == (1, channels, 64, 96)
    with torch.inference_mode():
        boxes, scores = model(torch.from_numpy(pixels))
    assert boxes.shape == (1, 9 * (96 + 24 + 6 + 2 + 1), 4)
    assert scores.shape == (*boxes.shape[:2], 80)


@pytest.mark.full
@pytest.mark.parametrize(("channels", "mean"), [(1, "[100.0]"), (4, "None")])
def test_a_network_for_other_channels_is_converted(channels: int, mean: str, tmp_path: Path) -> None:
    """A narrow one, whole: mmdet itself gets the pixels of an ``.npy`` file in link 0."""
    import adaptrt

    own = {
        "model.backbone.in_channels": str(channels),
        "model.data_preprocessor.mean": mean,
        "model.data_preprocessor.std": mean,
        "model.data_preprocessor.bgr_to_rgb": "False",
    }
    image = np.random.default_rng(0).integers(0, 256, (48, 80, channels), np.uint8)
    np.save(tmp_path / "image.npy", image)
    report = adaptrt.convert(
        "retinanet_r18_fpn_1x_coco",
        adapter="mmdet",
        imgsz=(64, 96),
        batch=(1, 2, 3),
        image=tmp_path / "image.npy",
        exporter="torchscript",
        verify="quick",
        html=False,
        output=tmp_path,
        options={"cfg": {**NARROW, **own}, "conf": 0.0, "max_det": 5},
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert report.spec is not None
    assert report.spec.image_channels == channels
    (found,) = adaptrt.load(report.onnx)(tmp_path / "image.npy")
    assert len(found) == 5


@pytest.mark.full
def test_dynamic_sizes_are_no_hazard_of_the_adapters_own_code(tmp_path: Path) -> None:
    """Its decoding was said to trace a size."""
    import adaptrt

    report = adaptrt.convert(
        "retinanet_r18_fpn_1x_coco",
        adapter="mmdet",
        imgsz=64,
        batch=(1, 2, 3),
        dynamic="batch,hw",
        exporter="torchscript",
        verify="none",
        html=False,
        output=tmp_path,
        options={"cfg": NARROW},
    )
    assert report.spec is not None
    assert all(axis.dynamic for axis in report.spec.inputs[0].dims[-2:])
    assert [found for found in report.findings if found.rule.startswith("traced-")] == []


def test_ssd_keeps_its_size(tmp_path: Path) -> None:
    """It is not padded, so its size needs no stride."""
    ctx = Conversion(Request("ssd300_coco", "mmdet"), MmdetOptions(), tmp_path)
    assert dense_spec(ctx, wrap_dense(open_source(ctx))).image_size == (300, 300)


def test_a_head_that_mmdet_cannot_decode_is_completed_and_the_report_says_so(tmp_path: Path) -> None:
    """SSDHead has no loss_cls; mmdet 3.3 reads it of every head."""
    ctx = Conversion(Request("ssd300_coco", "mmdet"), MmdetOptions(), tmp_path)
    detector = SimpleNamespace(bbox_head=torch.nn.Identity())
    note_completed_head(ctx, detector)
    note_completed_head(ctx, detector)
    assert [note for note in ctx.notes if "cannot decode Identity" in note] == ctx.notes
    assert len(ctx.notes) == 1
    assert detector.bbox_head.loss_cls is None
