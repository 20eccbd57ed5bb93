"""mmdet's own inference pipeline: test pipeline, data preprocessor and predict."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Conversion, Detections, Mask, ModelSpec, Segments
from adaptrt.vision.decoders.candidates import Candidates
from adaptrt.vision.decoders.params import class_filter
from adaptrt.vision.decoders.select import Selection, select
from adaptrt.vision.images import bgr_pixels, frameworks_read
from adaptrt_mmdet.build import quiet
from adaptrt_mmdet.dense_family import RAW_HEADS
from adaptrt_mmdet.images import test_pipeline
from adaptrt_mmdet.labels import class_names
from adaptrt_mmdet.registered import only_registered
from adaptrt_mmdet.sources import Source, open_source
from adaptrt_mmdet.stand_in import replaced_ops
from adaptrt_mmdet.two_stage_family import class_count

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn


def mmdet_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections:
    """mmdet's detections in an image, by a separate detector, with the requested thresholds and classes.

    Both ways to fit an image to our tensor are mmdet's: ``Resize`` with ``keep_ratio=False``, and padding to a larger
    image in the same batch.
    """
    assert spec.image is not None
    source, params = open_source(ctx), spec.decoder.params if spec.decoder else {}
    note_completed_head(ctx, source.detector)
    dense = spec.decoder is not None and spec.decoder.name in ("dense", "box_scores", "dynamic_masks")
    limit = candidate_limit(source.detector) if dense else 0
    if dense:
        set_thresholds(source.detector.bbox_head, params)
    channels = spec.image_channels
    # mmdet reads color images; it takes the pixels of others
    given = image if channels == 3 and frameworks_read(image, channels) else bgr_pixels(image, channels)
    with counted_candidates(source.detector) as counts:
        found = predict(source, [given], spec.image_size, stretch=spec.image.resize == "stretch")[0]
    note_replaced_ops(ctx)
    note_whole_numbers(ctx, source)
    if 0 < limit < max(counts, default=0) and "nms_pre" not in params:
        note_lifted_limit(ctx, source.detector, limit, max(counts))
    selection = Selection(
        conf=params.get("conf", 0.25),
        iou=None if dense else params.get("iou"),  # queries: mmdet has no NMS here; --set iou=0.5 filters its result
        max_det=params.get("max_det", 300),
        agnostic=params.get("agnostic", False),
        classes=class_filter(params.get("classes"), spec.labels),
    )
    return found.at(select(Candidates(found.boxes, found.scores, found.labels), selection))


def note_replaced_ops(ctx: Conversion) -> None:
    """The report says which of mmcv's compiled ops were computed by torchvision."""
    ops = replaced_ops()
    note = f"mmcv's compiled ops ({', '.join(ops)}) are not installed; torchvision's functions were used instead."
    if ops and note not in ctx.notes:
        ctx.notes.append(note)


def note_whole_numbers(ctx: Conversion, source: Source) -> None:
    """The report says that mmdet itself would resize images in float32."""
    note = (
        "The config resizes images in float32 (to_float32=True); here, resized pixels are rounded to whole numbers, and for the "
        "comparison with mmdet's own inference, mmdet's are too."
    )
    if any(step.get("to_float32") for step in test_pipeline(source.config)) and note not in ctx.notes:
        ctx.notes.append(note)


def complete_head(detector: Any) -> bool:
    """Make mmdet's own decoding run for a head without ``loss_cls``, which mmdet 3.3 reads of every head; whether it had to.

    ``SSDHead`` has no such module; ``None`` selects the default activation.
    """
    head = getattr(detector, "bbox_head", None)
    if head is None or hasattr(head, "loss_cls"):
        return False
    head.loss_cls = None
    return True


def note_completed_head(ctx: Conversion, detector: Any) -> None:
    """The report says that mmdet's own decoding does not run as it is."""
    if complete_head(detector):
        name = type(detector.bbox_head).__name__
        ctx.notes.append(
            f"mmdet 3.3 cannot decode {name}: BaseDenseHead reads loss_cls, which {name} does not have. For the comparison "
            "with mmdet's own inference, loss_cls was set to None, which selects the default activation."
        )


ALL_CANDIDATES = 10**9
"""Not -1: mmdet 3.3 slices with the limit, and would drop the last candidate."""


def set_thresholds(head: Any, params: Mapping[str, Any]) -> None:
    """Copy the thresholds of the decoder to where mmdet's own decoding of this head reads them.

    Of its limits on candidates, ``dense`` has ``nms_pre``; boxes and scores decoded in the graph are all candidates, also
    those whose objectness is below ``conf_thr`` (YOLOv3).
    """
    test = head.test_cfg
    test["score_thr"], test["max_per_img"] = params.get("conf", 0.25), params.get("max_det", 100)
    limit = params.get("nms_pre", 0)
    test["nms_pre"] = limit if limit > 0 else ALL_CANDIDATES
    test["conf_thr"] = -1
    if params.get("min_size") is not None:
        test["min_bbox_size"] = params["min_size"]
    iou = params.get("iou", 0.5)
    test["nms"] = {
        **(test.get("nms") or {"type": "nms"}),
        "iou_threshold": 1.0 if iou is None else iou,  # no IoU is above 1
        "class_agnostic": params.get("agnostic", False),
    }


def candidate_limit(detector: Any) -> int:
    """``nms_pre`` of the config: how many pairs of box and class of a level (YOLOv3: of all) mmdet keeps before NMS; 0: all."""
    test = getattr(getattr(detector, "bbox_head", None), "test_cfg", None) or {}
    return max(int(test.get("nms_pre", 0)), 0)


@contextmanager
def counted_candidates(detector: Any) -> Iterator[list[int]]:
    """How many pairs of box and class were above the score threshold, for each call of mmdet's selection."""
    counts: list[int] = []
    kinds = type(getattr(detector, "bbox_head", None)).__mro__
    modules = {sys.modules[kind.__module__] for kind in kinds if hasattr(sys.modules[kind.__module__], _SELECTION)}
    originals = {module: getattr(module, _SELECTION) for module in modules}

    def counted(original: Any) -> Any:
        def select(scores: Any, threshold: float, *rest: Any) -> Any:
            counts.append(int((scores > threshold).sum()))
            return original(scores, threshold, *rest)

        return select

    try:
        for module, original in originals.items():
            setattr(module, _SELECTION, counted(original))
        yield counts
    finally:
        for module, original in originals.items():
            setattr(module, _SELECTION, original)


_SELECTION = "filter_scores_and_topk"
"""Heads import it into their modules."""


def note_lifted_limit(ctx: Conversion, detector: Any, limit: int, count: int) -> None:
    """The report says that mmdet itself would have left candidates out."""
    name = type(detector.bbox_head).__name__
    raw = " --set raw=true selects as mmdet does." if name in RAW_HEADS else ""
    note = (
        f"mmdet's nms_pre={limit} would drop candidates: {count} of one selection are above conf. The decoded outputs have all, "
        f"so the limit was lifted for the comparison with mmdet's own inference.{raw}"
    )
    if note not in ctx.notes:
        ctx.notes.append(note)


def predict(
    source: Source,
    images: Sequence[Path | NDArray[np.uint8]],
    size: tuple[int, int] | None = None,
    *,
    stretch: bool = False,
) -> list[Detections]:
    """mmdet's ``test_step`` on image files (or all on arrays uint8 [H, W, channels], BGR), one by one.

    ``size`` (height, width) replaces the pipeline's, and the tensor is padded to it; ``None`` leaves all to mmdet.
    """
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    detector: Any = source.detector
    complete_head(detector)
    names = class_names(source.config, source.checkpoint, class_count(detector))
    found: list[Detections] = []
    with quiet(), only_registered(source.config), DefaultScope.overwrite_default_scope("mmdet"):
        import mmdet.datasets.transforms  # noqa: F401  # registers them

        arrays = any(isinstance(image, np.ndarray) for image in images)
        pipeline = Compose(adjusted_pipeline(source, size, stretch=stretch, arrays=arrays))
        for image in images:
            given = {"img": image} if arrays else {"img_path": str(image)}
            sample = pipeline({**given, "img_id": 0, "instances": []})
            samples = [sample] if size is None else [sample, blank_sample(sample, size)]
            result = test_step(detector, {key: [sample[key] for sample in samples] for key in sample})[0]
            found.append(detections_of(result, names))
    return found


def detections_of(result: Any, names: tuple[str, ...]) -> Detections:
    """The instances of a data sample, boxes clipped to the image."""
    instances = result.pred_instances.cpu().numpy()
    height, width = result.ori_shape[:2]
    boxes = np.clip(instances.bboxes, 0, (width, height, width, height)).astype(np.float32)
    scores, labels = np.asarray(instances.scores, np.float32), np.asarray(instances.labels, np.int64)
    if "masks" not in instances:
        return Detections(boxes, scores, labels, names)
    masks = tuple(cropped_mask(np.asarray(mask, np.bool_)) for mask in instances.masks)
    return Segments(boxes, scores, labels, names, masks, (height, width))


def cropped_mask(mask: NDArray[np.bool_]) -> Mask:
    """Of the size of the object, from one of the size of the image."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Mask(mask[:0, :0], 0, 0)
    top, left = int(rows[0]), int(columns[0])
    return Mask(mask[top : rows[-1] + 1, left : columns[-1] + 1], left, top)


class FitInside:
    """mmdet's ``Resize`` for an image as large as fits into (height, width).

    mmdet reads a size as the long and the short side: a portrait image would leave a landscape input.
    """

    def __init__(self, step: Mapping[str, Any], size: tuple[int, int]) -> None:
        self.step, self.size = step, size

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        from mmdet.registry import TRANSFORMS

        height, width = results["img"].shape[:2]
        factor = min(self.size[0] / height, self.size[1] / width)
        scale = (int(width * factor + 0.5), int(height * factor + 0.5))  # rounds as mmcv does
        resized: dict[str, Any] = TRANSFORMS.build({**self.step, "scale": scale, "keep_ratio": False})(results)
        return resized


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


def adjusted_pipeline(
    source: Source, size: tuple[int, int] | None, *, stretch: bool, arrays: bool = False
) -> list[Any]:
    """The config's test pipeline without annotations, resizing to ``size`` in whole numbers, as our images are resized; with
    ``arrays`` it is given pixels, not files."""
    steps = []
    for step in copy.deepcopy(test_pipeline(source.config)):
        kind = str(step["type"]).rpartition(".")[2]
        if kind == "LoadAnnotations":
            continue
        if kind == "LoadImageFromFile":  # the image is a local file, regardless of the storage used in training
            step.pop("backend_args", None)
            step.pop("file_client_args", None)
            if size is not None:
                step.pop("to_float32", None)
            if arrays:
                step = {"type": "LoadImageFromNDArray", "to_float32": step.get("to_float32", False)}
        if size is not None and kind == "Resize":
            step["scale"] = (size[1], size[0])
            step.pop("scale_factor", None)
        if kind == "Resize" and stretch:
            step["keep_ratio"] = False
        if size is not None and kind == "Resize" and step.get("keep_ratio"):
            step = FitInside(step, size)
        if kind == "Pad" and size is not None:
            for other in ("pad_to_square", "size_divisor"):  # mmcv takes one of the three
                step.pop(other, None)
            step["size"] = (size[1], size[0])
        if kind == "PackDetInputs":
            step["meta_keys"] = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
        steps.append(step)
    return steps
