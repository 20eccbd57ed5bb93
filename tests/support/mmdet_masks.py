"""Instance segmentation by MMDetection: images, statistics for random weights, and comparisons with its own predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from draw_shapes import draw_detection_image

import adaptrt
from adaptrt import Conversion, ModelSpec, Report, Request, Segments
from adaptrt.tasks.segment.agreement import mean_mask_iou
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_batch
from adaptrt_mmdet import framework
from adaptrt_mmdet.options import MmdetOptions


def write_images(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Of different sizes and aspect ratios, the first with this height and width."""
    paths = []
    for index in range(count):
        image = draw_detection_image(7, index).image[: size[0] + 40 * index, : size[1] - 60 * index]
        paths.append(folder / f"{index}.png")
        cv2.imwrite(str(paths[-1]), image)
    return paths


def normalized(images: Sequence[Path], size: tuple[int, int]) -> torch.Tensor:
    """A batch of the images at this height and width."""
    pixels = [cv2.resize(cv2.imread(str(image)), size[::-1]).transpose(2, 0, 1) for image in images]
    batch = torch.from_numpy(np.stack(pixels)).float()
    return (batch - batch.mean()) / batch.std()


@contextmanager
def taking_statistics(detector: Any) -> Iterator[None]:
    """BatchNorms take the statistics of what they see."""
    norms = [module for module in detector.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    yield
    for norm in norms:
        norm.eval()


def labels_as_mmdet(ctx: Conversion, model: Any, spec: ModelSpec, images: Sequence[Path], areas: int) -> set[int]:
    """The classes that are found; every object of each image is mmdet's own, and has one of at least ``areas`` areas."""
    labels = set()
    for path in images:
        arrays, metas = transform_batch([cv2.imread(str(path))[..., ::-1]], spec)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(arrays["images"]))
        named = {output.name: value.numpy() for output, value in zip(spec.outputs, outputs, strict=True)}
        (ours,) = decode(named, metas, spec)
        assert isinstance(ours, Segments)
        _same_objects(framework.mmdet_predictions(ctx, path, spec), ours, areas)
        labels |= set(ours.labels.tolist())
    return labels


def _same_objects(theirs: Any, ours: Segments, areas: int) -> None:
    assert isinstance(theirs, Segments)
    assert len(theirs) == len(ours) >= 10
    assert np.allclose(theirs.scores, ours.scores, atol=1e-4)
    assert np.array_equal(theirs.labels, ours.labels)
    assert np.allclose(theirs.boxes, ours.boxes, atol=1e-2)
    whole = ours.size[0] * ours.size[1]
    assert len({mask.area for mask in theirs.masks} - {0, whole}) >= areas
    for one, other in zip(theirs.masks, ours.masks, strict=True):
        bitmaps = [mask.in_image(ours.size) for mask in (one, other)]
        assert (bitmaps[0] != bitmaps[1]).sum() <= 2 + bitmaps[0].sum() * 1e-3  # rounding, at the outline


def converted_as_mmdet(
    config: str,
    cfg: dict[str, str],
    weights: Path,
    images: Sequence[Path],
    folder: Path,
    *,
    conf: float,
    **options: Any,
) -> Report:
    """The report of a conversion whose file finds in two images what mmdet itself finds."""
    report = adaptrt.convert(
        config,
        adapter="mmdet",
        weights=weights,
        output=folder / "out.onnx",
        image=images[0],
        options={"cfg": cfg, "conf": conf},
        verify="quick",
        html=False,
        **options,
    )
    ctx = Conversion(Request(config, "mmdet", weights=weights), MmdetOptions(cfg=cfg), folder)
    assert report.spec is not None
    theirs: Any = [framework.mmdet_predictions(ctx, path, report.spec) for path in images[:2]]
    with adaptrt.load(folder / "out.onnx") as model:
        ours: Any = model(list(images[:2]))
    assert min(map(len, theirs)) >= 10
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert mean_mask_iou(0.99).compute(theirs, ours) >= 0.99
    return report
