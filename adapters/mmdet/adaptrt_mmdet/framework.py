"""mmdet's own end-to-end road: its test pipeline, data preprocessor and predict."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Conversion, Detections, ImageTransform, InputSpec, ModelSpec
from adaptrt_mmdet.build import quiet
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.pictures import read_test_pictures, test_pipeline
from adaptrt_mmdet.sources import Source, open_source
from adaptrt_mmdet.stand_in import has_compiled_ops

if TYPE_CHECKING:
    from torch import nn

STRIDE = 32
_ANY = ImageTransform(stride=STRIDE)


def mmdet_predictions(ctx: Conversion, image: Path, *, stretch: bool) -> Detections:
    """What mmdet finds in a picture, above the threshold that was asked for, by a detector of its own.

    Both ways to bring it to our tensor are mmdet's: ``Resize`` with ``keep_ratio=False``, and the padding that a
    larger picture in the same batch brings about.
    """
    source = open_source(ctx)
    pictures = read_test_pictures(source.config, stride=STRIDE)
    asked, _ = ctx.request.shapes.apply(ModelSpec((InputSpec.image(pictures.height, pictures.width),), image=_ANY))
    found = predict(source, [image], asked.image_size, stretch=stretch)[0]
    keep = found.scores > float(ctx.request.options.get("conf", 0.25))
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep], found.names)


def predict(
    source: Source, images: Sequence[Path], size: tuple[int, int] | None = None, *, stretch: bool = False
) -> list[Detections]:
    """mmdet's ``test_step`` on picture files, one by one.

    ``size`` (height, width) replaces the pipeline's, and the tensor is padded to it; ``None`` leaves all to mmdet.
    """
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    detector: Any = source.detector
    names = class_names(source.config, source.checkpoint, int(detector.bbox_head.num_classes))
    found: list[Detections] = []
    with quiet(), DefaultScope.overwrite_default_scope("mmdet"), torchvision_nms():
        import mmdet.datasets.transforms  # noqa: F401  # registers them

        pipeline = Compose(adjusted_pipeline(source, size, stretch=stretch))
        for path in images:
            sample = pipeline({"img_path": str(path), "img_id": 0, "instances": []})
            samples = [sample] if size is None else [sample, blank_sample(sample, size)]
            result = test_step(detector, {key: [sample[key] for sample in samples] for key in sample})[0]
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


def blank_sample(sample: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """A black picture of this size: mmdet pads the others of its batch to it."""
    data = sample["data_samples"].clone()
    data.set_metainfo({"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
    return {"inputs": sample["inputs"].new_zeros(3, *size), "data_samples": data}


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
