"""mmdet's own end-to-end road: its test pipeline, data preprocessor and predict."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Conversion, Detections
from adaptrt_mmdet.build import quiet
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.pictures import read_test_pictures, test_pipeline
from adaptrt_mmdet.sources import Source, open_source
from adaptrt_mmdet.stand_in import has_compiled_ops

if TYPE_CHECKING:
    from torch import nn


def mmdet_predictions(ctx: Conversion, image: Path, *, stretch: bool | None = None, stride: int = 32) -> Detections:
    """What mmdet finds in a picture, above the threshold that was asked for, by a detector of its own.

    ``stretch``: its ``Resize`` with ``keep_ratio=False``, as our default does it; its own setting otherwise.
    """
    source = open_source(ctx)
    pictures = read_test_pictures(source.config, stride=stride)
    size = ctx.request.shapes.imgsz or (pictures.height, pictures.width)
    if stretch is None:
        stretch = getattr(ctx.options, "padding", "mask") == "none"
    found = predict(source, [image], size, stretch=stretch)[0]
    conf = float(ctx.request.options.get("conf", 0.25))
    keep = found.scores > conf
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep], found.names)


def predict(
    source: Source, images: list[Path], size: tuple[int, int] | None, *, stretch: bool, batch: int = 1
) -> list[Detections]:
    """mmdet's ``test_step`` on picture files; ``size`` (height, width) replaces the pipeline's, ``None`` keeps it."""
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    detector: Any = source.detector
    names = class_names(source.config, source.checkpoint, int(detector.bbox_head.num_classes))
    found: list[Detections] = []
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"), torchvision_nms():
        import mmdet.datasets.transforms  # noqa: F401  # registers them

        pipeline = Compose(adjusted_pipeline(source, size, stretch=stretch))
        for start in range(0, len(images), batch):
            samples = [
                pipeline({"img_path": str(path), "img_id": number, "instances": []})
                for number, path in enumerate(images[start : start + batch])
            ]
            data = {key: [sample[key] for sample in samples] for key in samples[0]}
            for result in test_step(detector, data):
                instances = result.pred_instances.cpu().numpy()
                found.append(
                    Detections(
                        np.asarray(instances.bboxes, np.float32),
                        np.asarray(instances.scores, np.float32),
                        np.asarray(instances.labels, np.int64),
                        names,
                    )
                )
    return found


def test_step(detector: nn.Module, data: dict[str, Any]) -> list[Any]:
    import torch

    with torch.inference_mode():
        results: list[Any] = detector.test_step(data)  # type: ignore[operator]
    return results


test_step.__test__ = False  # type: ignore[attr-defined]


def adjusted_pipeline(source: Source, size: tuple[int, int] | None, *, stretch: bool) -> list[Any]:
    """The config's test pipeline without annotations, resizing to ``size``."""
    steps = []
    for step in copy.deepcopy(test_pipeline(source.config)):
        kind = str(step["type"]).rpartition(".")[2]
        if kind == "LoadAnnotations":
            continue
        if size is not None and kind == "Resize":
            step["scale"] = (size[1], size[0])
            step.pop("scale_factor", None)
        if kind == "Resize" and stretch:
            step["keep_ratio"] = False
        if kind == "PackDetInputs":
            step["meta_keys"] = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        steps.append(step)
    return steps


@contextlib.contextmanager
def torchvision_nms() -> Iterator[None]:
    """``predict`` of dense detectors ends in mmcv's compiled NMS; torchvision's does the same where that is missing."""
    if has_compiled_ops():
        yield
        return
    import torchvision

    place: Any = importlib.import_module("mmcv.ops.nms")  # the function of that name hides the module

    original = place.ext_module

    class Ops:
        def nms(self, boxes: Any, scores: Any, iou_threshold: float, offset: int) -> Any:
            if offset:
                raise NotImplementedError("boxes that count their last pixel (nms offset=1) are mmdet 1's")
            return torchvision.ops.nms(boxes, scores, iou_threshold)

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

    place.ext_module = Ops()
    try:
        yield
    finally:
        place.ext_module = original
