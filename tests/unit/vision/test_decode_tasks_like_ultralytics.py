"""Masks, keypoints and rotated boxes are those that Ultralytics makes of the same raw outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt.predictions import ImageMeta, Poses, RotatedDetections, Segments
from adaptrt.specs import DecoderSpec, ImageTransform, InputSpec, ModelSpec
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.rotated import probabilistic_iou, rotated_iou
from adaptrt.vision.transforms import transform_image

pytest.importorskip("ultralytics", reason="compares with the decoding of the ultralytics package")

import torch
import torchvision  # noqa: F401  Ultralytics uses its NMS once it is imported
from ultralytics.utils import ops
from ultralytics.utils.metrics import batch_probiou
from ultralytics.utils.nms import non_max_suppression

SIZE = (256, 320)
CLASSES = 4
IMAGES = [(480, 640), (333, 500), (640, 200), (256, 320), (97, 131)]


def spec_of(name: str, **params: Any) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(*SIZE),),
        task={"yolo_segment": "segment", "yolo_pose": "pose", "yolo_obb": "obb"}.get(name, "detect"),
        image=ImageTransform(),
        decoder=DecoderSpec(name, params),
        labels=tuple("abcd"),
    )


def rows(seed: int, extras: np.ndarray, count: int = 400, objects: int = 24) -> np.ndarray:
    """float32 [1, 4 + classes + E, count]: clusters around objects, low scores elsewhere."""
    rng = np.random.default_rng(seed)
    raw = np.empty((4 + CLASSES, count))
    which = rng.integers(0, objects, count)
    raw[:2] = rng.uniform(0, 1, (2, objects))[:, which] * [[SIZE[1]], [SIZE[0]]] + rng.normal(0, 3, (2, count))
    raw[2:4] = rng.uniform(12, 90, (2, objects))[:, which] * rng.uniform(0.9, 1.1, (2, count))
    raw[4:] = rng.random((CLASSES, count)) * 0.1
    raw[4 + rng.integers(0, CLASSES, objects)[which], np.arange(count)] += rng.integers(1, 90, count) / 100
    return np.concatenate((raw, extras))[None].astype(np.float32)


def meta_of(image: tuple[int, int]) -> ImageMeta:
    return transform_image(np.zeros((*image, 3), np.uint8), ImageTransform(), SIZE)[1]


def kept_by_ultralytics(raw: np.ndarray, **options: Any) -> Any:
    (found,) = non_max_suppression(torch.from_numpy(raw.copy()), 0.25, 0.5, nc=CLASSES, **options)
    assert len(found) >= 10
    assert len(set(found[:, 5].tolist())) == CLASSES
    return found


def as_anchor(raw: np.ndarray) -> np.ndarray:
    """The same with an objectness of 1."""
    first, rest = raw[:, :4], raw[:, 4:]
    return np.concatenate((first, np.ones_like(raw[:, :1]), rest), 1).transpose(0, 2, 1).copy()


def as_end2end(found: Any) -> np.ndarray:
    return np.asarray(found[None].numpy(), np.float32)


@pytest.mark.parametrize("image", IMAGES)
def test_masks(image: tuple[int, int]) -> None:
    rng = np.random.default_rng(image[0])
    prototypes = torch.nn.functional.interpolate(
        torch.from_numpy(rng.normal(size=(1, 8, SIZE[0] // 16, SIZE[1] // 16)).astype(np.float32)),
        (SIZE[0] // 4, SIZE[1] // 4),
        mode="bicubic",
    )
    raw = rows(image[1], rng.normal(size=(8, 400)))
    theirs = kept_by_ultralytics(raw)
    boxes = ops.scale_boxes(SIZE, theirs[:, :4].clone(), image)
    masks = ops.process_mask_native(prototypes[0], theirs[:, 6:], boxes, image).numpy().astype(bool)
    shown = masks.any((1, 2))
    for layout, output in (("dense", raw), ("anchor", as_anchor(raw)), ("end2end", as_end2end(theirs))):
        spec = spec_of("yolo_segment", rows=layout, iou=None if layout == "end2end" else 0.5)
        (ours,) = decode({"output0": output, "output1": prototypes.numpy()}, [meta_of(image)], spec)
        assert isinstance(ours, Segments)
        assert (ours.size, len(ours)) == (image, int(shown.sum()))
        np.testing.assert_allclose(ours.boxes, boxes[shown], atol=1e-3)
        compared = 0
        for mask, expected in zip(ours.masks, masks[shown], strict=True):
            whole = mask.in_image(image)
            compared += int(expected.sum())
            assert (whole != expected).sum() <= 0.002 * expected.sum() + 1, "a sum near 0 may fall on either side"
        assert compared > 2000


@pytest.mark.parametrize("numbers", [2, 3])
@pytest.mark.parametrize("image", IMAGES[:3])
def test_keypoints(image: tuple[int, int], numbers: int) -> None:
    rng = np.random.default_rng(numbers)
    extras = rng.uniform(-20, 340, (400, 5, numbers))
    extras[..., 2:] = rng.random((400, 5, numbers - 2))
    raw = rows(image[0], extras.reshape(400, -1).T)
    theirs = kept_by_ultralytics(raw)
    points = ops.scale_coords(SIZE, theirs[:, 6:].reshape(-1, 5, numbers).clone(), image).numpy()
    for layout, output in (("dense", raw), ("anchor", as_anchor(raw)), ("end2end", as_end2end(theirs))):
        iou = None if layout == "end2end" else 0.5
        spec = spec_of("yolo_pose", rows=layout, iou=iou, keypoints=(5, numbers), skeleton=[[0, 1], [1, 2]])
        (ours,) = decode({"output0": output}, [meta_of(image)], spec)
        assert isinstance(ours, Poses)
        assert ours.skeleton == ((0, 1), (1, 2))
        np.testing.assert_allclose(ours.points[..., :numbers], points, atol=1e-3)
        assert numbers == 3 or (ours.points[..., 2] == 1).all()


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("image", IMAGES[:3])
def test_rotated_boxes(image: tuple[int, int], agnostic: bool) -> None:
    rng = np.random.default_rng(5)
    raw = rows(image[1], rng.uniform(-np.pi / 4, 3 * np.pi / 4, (1, 400)))
    theirs = kept_by_ultralytics(raw, rotated=True, agnostic=agnostic)
    boxes = torch.cat([theirs[:, :4], theirs[:, -1:]], -1)
    boxes[:, :4] = ops.scale_boxes(SIZE, boxes[:, :4], image, xywh=True)
    for layout, output in (("dense", raw), ("end2end", as_end2end(theirs))):
        iou = None if layout == "end2end" else 0.5
        (ours,) = decode(
            {"output0": output}, [meta_of(image)], spec_of("yolo_obb", rows=layout, iou=iou, agnostic=agnostic)
        )
        assert isinstance(ours, RotatedDetections)
        assert ours.rotated is not None
        np.testing.assert_allclose(ours.rotated, boxes, atol=1e-3)
        np.testing.assert_allclose(ours.polygons, ops.xywhr2xyxyxyxy(boxes), atol=1e-2)
        height, width = image
        assert (ours.boxes >= 0).all()
        assert (ours.boxes <= [width, height, width, height]).all()


def test_probabilistic_overlap() -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform([0, 0, 1, 1, -1], [100, 100, 80, 80, 3], (60, 5)).astype(np.float32)
    np.testing.assert_allclose(
        probabilistic_iou(boxes[:40], boxes[20:]), batch_probiou(boxes[:40], boxes[20:]), atol=2e-4
    )


def test_exact_overlap() -> None:
    shapely = pytest.importorskip("shapely", reason="an independent polygon intersection")
    rng = np.random.default_rng(1)
    boxes = rng.uniform([0, 0, 1, 1, -4], [60, 60, 80, 80, 4], (30, 5)).astype(np.float32)
    from adaptrt.predictions import corners_of

    polygons = [shapely.Polygon(corners) for corners in corners_of(boxes)]
    expected = [[a.intersection(b).area / a.union(b).area for b in polygons] for a in polygons]
    found = rotated_iou(boxes, boxes)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (np.diag(found) == 1).all()
    assert 0.01 < found[~np.eye(30, dtype=bool)].mean() < 0.5


def test_end_to_end_boxes() -> None:
    raw = rows(3, np.zeros((0, 400)))
    theirs = kept_by_ultralytics(raw)
    (ours,) = decode({"output0": as_end2end(theirs)}, [meta_of((480, 640))], spec_of("yolo_end2end", classes=[1, "c"]))
    kept = np.isin(theirs[:, 5], [1, 2])
    np.testing.assert_array_equal(ours.scores, theirs[kept][:, 4])
    np.testing.assert_allclose(ours.boxes, ops.scale_boxes(SIZE, theirs[kept][:, :4].clone(), (480, 640)), atol=1e-3)


def test_rt_detr() -> None:
    rng = np.random.default_rng(2)
    boxes = rng.uniform([0.2, 0.2, 0.01, 0.01], [0.8, 0.8, 0.5, 0.5], (12, 4))
    raw = np.concatenate((boxes, np.linspace(0.9, 0.1, 12)[:, None], rng.integers(0, 4, (12, 1))), 1).astype(np.float32)
    spec = spec_of("rtdetr")
    stretched = ImageTransform(resize="stretch")
    _, meta = transform_image(np.zeros((480, 500, 3), np.uint8), stretched, SIZE)
    (ours,) = decode({"output0": raw[None]}, [meta], spec)
    corners = ops.xywh2xyxy(torch.from_numpy(raw[raw[:, 4] > 0.25, :4])).numpy() * [500, 480, 500, 480]
    np.testing.assert_allclose(ours.boxes, corners, rtol=1e-4)
    np.testing.assert_array_equal(ours.labels, raw[raw[:, 4] > 0.25, 5])
