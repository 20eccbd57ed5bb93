"""mmdet's own inference pipeline: test pipeline, data preprocessor and predict."""

from __future__ import annotations

import contextlib
import copy
import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Conversion, Detections, ModelSpec
from adaptrt.vision.decoders.candidates import Candidates
from adaptrt.vision.decoders.params import class_filter
from adaptrt.vision.decoders.select import select
from adaptrt_mmdet.build import quiet
from adaptrt_mmdet.images import test_pipeline
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.registered import only_registered
from adaptrt_mmdet.sources import Source, open_source
from adaptrt_mmdet.stand_in import has_compiled_ops

if TYPE_CHECKING:
    from torch import nn


def mmdet_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections:
    """mmdet's detections in an image, by a separate detector, with the requested thresholds and classes.

    Both ways to fit an image to our tensor are mmdet's: ``Resize`` with ``keep_ratio=False``, and padding to a larger
    image in the same batch.
    """
    assert spec.image is not None
    source, params = open_source(ctx), spec.decoder.params if spec.decoder else {}
    dense = spec.decoder is not None and spec.decoder.name == "dense"
    if dense:
        set_thresholds(source.detector.bbox_head, params)
    found = predict(source, [image], spec.image_size, stretch=spec.image.resize == "stretch")[0]
    kept = select(
        Candidates(found.boxes, found.scores, found.labels),
        conf=params.get("conf", 0.25),
        iou=None if dense else params.get("iou"),  # queries: mmdet has no NMS here; --set iou=0.5 filters its result
        max_det=params.get("max_det", 300),
        agnostic=params.get("agnostic", False),
        classes=class_filter(params.get("classes"), spec.labels),
    )
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept], found.names)


def set_thresholds(head: Any, params: Mapping[str, Any]) -> None:
    """Copy the thresholds of decoder ``dense`` to where mmdet's own decoding of this head reads them."""
    test = head.test_cfg
    test["score_thr"], test["max_per_img"] = params.get("conf", 0.25), params.get("max_det", 100)
    iou = params.get("iou", 0.5)
    test["nms"] = {
        **(test.get("nms") or {"type": "nms"}),
        "iou_threshold": 1.0 if iou is None else iou,  # no IoU is above 1
        "class_agnostic": params.get("agnostic", False),
    }


def predict(
    source: Source, images: Sequence[Path], size: tuple[int, int] | None = None, *, stretch: bool = False
) -> list[Detections]:
    """mmdet's ``test_step`` on image files, one by one.

    ``size`` (height, width) replaces the pipeline's, and the tensor is padded to it; ``None`` leaves all to mmdet.
    """
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    detector: Any = source.detector
    names = class_names(source.config, source.checkpoint, int(detector.bbox_head.num_classes))
    found: list[Detections] = []
    with quiet(), only_registered(source.config), DefaultScope.overwrite_default_scope("mmdet"), torchvision_nms():
        import mmdet.datasets.transforms  # noqa: F401  # registers them

        pipeline = Compose(adjusted_pipeline(source, size, stretch=stretch))
        for path in images:
            sample = pipeline({"img_path": str(path), "img_id": 0, "instances": []})
            samples = [sample] if size is None else [sample, blank_sample(sample, size)]
            result = test_step(detector, {key: [sample[key] for sample in samples] for key in sample})[0]
            instances = result.pred_instances.cpu().numpy()
            height, width = result.ori_shape[:2]
            found.append(
                Detections(
                    np.clip(instances.bboxes, 0, (width, height, width, height)).astype(np.float32),
                    np.asarray(instances.scores, np.float32),
                    np.asarray(instances.labels, np.int64),
                    names,
                )
            )
    return found


def blank_sample(sample: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """A black image of this size: mmdet pads the other images of the batch to it."""
    data = sample["data_samples"].clone()
    data.set_metainfo({"img_shape": size, "ori_shape": size, "scale_factor": (1.0, 1.0)})
    return {"inputs": sample["inputs"].new_zeros(len(sample["inputs"]), *size), "data_samples": data}


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
        if kind == "LoadImageFromFile":  # the image is a local file, regardless of the storage used in training
            step.pop("backend_args", None)
            step.pop("file_client_args", None)
        if size is not None and kind == "Resize":
            step["scale"] = (size[1], size[0])
            step.pop("scale_factor", None)
        if kind == "Resize" and stretch:
            step["keep_ratio"] = False
        if kind == "Pad" and size is not None:
            step.pop("pad_to_square", None)
            step["size"] = (size[1], size[0])
        if kind == "PackDetInputs":
            step["meta_keys"] = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        steps.append(step)
    return steps


@contextlib.contextmanager
def torchvision_nms() -> Iterator[None]:
    """``predict`` of dense detectors calls mmcv's compiled NMS; if missing, torchvision's equivalent is used."""
    if has_compiled_ops():
        yield
        return
    import torchvision  # type: ignore[import-untyped]

    place: Any = importlib.import_module("mmcv.ops.nms")  # the function of that name shadows the module

    original = place.ext_module

    class Ops:
        def nms(self, boxes: Any, scores: Any, iou_threshold: float, offset: int) -> Any:
            if offset:
                raise NotImplementedError(
                    "nms offset=1 (boxes that include their last pixel, as in mmdet 1) is not supported"
                )
            return torchvision.ops.nms(boxes, scores, iou_threshold)

        def __getattr__(self, name: str) -> Any:
            return getattr(original, name)

    place.ext_module = Ops()
    try:
        yield
    finally:
        place.ext_module = original
