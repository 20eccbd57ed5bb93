"""Task, outputs and decoder of a network of the package, determined by its last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from ultralytics.nn import tasks

from adaptrt import DecoderSpec, ImageTransform, OutputGroup, OutputSpec, Tolerance, UsageError
from adaptrt.vision.decoders.yolo_pose import COCO_SKELETON

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True)
class Kind:
    """``task`` is the name in Ultralytics and in adaptrt, ``model`` Ultralytics' class, ``decoder`` the decoder before NMS."""

    task: str
    model: type[nn.Module]
    decoder: str
    heads: tuple[str, ...]


KINDS: Sequence[Kind] = (
    Kind("detect", tasks.DetectionModel, "yolo", ("Detect", "v10Detect")),
    Kind("segment", tasks.SegmentationModel, "yolo_segment", ("Segment", "Segment26")),
    Kind("pose", tasks.PoseModel, "yolo_pose", ("Pose", "Pose26")),
    Kind("obb", tasks.OBBModel, "yolo_obb", ("OBB", "OBB26")),
    Kind("classify", tasks.ClassificationModel, "classify", ("Classify",)),
    Kind("detect", tasks.RTDETRDetectionModel, "rtdetr", ("RTDETRDecoder",)),
)
MODELS: Mapping[str, type[nn.Module]] = {kind.model.__name__: kind.model for kind in KINDS}
_BY_HEAD: Mapping[str, Kind] = {name: kind for kind in KINDS for name in kind.heads}


def kind_of(head: nn.Module) -> Kind | None:
    """The kind of a head; ``None`` for one of another task, or a subclass that is not the package's."""
    kind = _BY_HEAD.get(type(head).__name__)
    known = type(head).__module__.startswith("ultralytics.nn.modules")
    return kind if kind is not None and known else None


def is_end_to_end(head: nn.Module) -> bool:
    """Whether the output needs no NMS: rows of corners, score and class, sorted by score."""
    return bool(getattr(head, "end2end", False))


def choose_branch(network: Any, end2end: bool | None) -> None:
    """Select the end-to-end branch of the head if it has one, unless ``end2end`` is false.

    Ultralytics decides in each call (``nms=False``) and records nothing. Raises a ``UsageError`` if the branch is missing.
    """
    head = network.model[-1]
    there = getattr(head, "one2one_cv2", None) is not None
    if end2end and not there:
        raise UsageError(
            f"end2end=true: {type(head).__name__} of this network has no end-to-end branch.",
            hint="Only YOLOv10 and YOLO26 have one. Remove the option.",
        )
    if there:
        if end2end is False and head.cv2 is None:
            raise UsageError(
                "end2end=false: this checkpoint was fused and contains only its end-to-end branch.",
                hint="Remove the option.",
            )
        head.end2end = end2end is not False


def extras_of(head: Any) -> int:
    """The number of values that the task adds to each box."""
    kind = kind_of(head)
    if kind is None:
        return 0
    if kind.task == "segment":
        return int(head.nm)
    if kind.task == "pose":
        return int(head.kpt_shape[0]) * int(head.kpt_shape[1])
    return 1 if kind.task == "obb" else 0


def outputs_of(head: Any, classes: int) -> tuple[OutputSpec, ...]:
    """Ultralytics' outputs, in groups of one unit each."""
    kind = kind_of(head)
    assert kind is not None
    if kind.task == "classify":
        return (OutputSpec("output0", groups=(OutputGroup("probabilities", "scores"),)),)
    if kind.decoder == "rtdetr":
        exact = Tolerance(1e-4, reason="1e-4 of a side: too small to affect an IoU")
        boxes = OutputGroup("boxes", "values", 2, 0, 4, tolerances={"fp32": exact}, rank_sensitive=True)
        return (OutputSpec("output0", groups=(boxes, *_ranked(classes))),)
    extras = extras_of(head)
    if is_end_to_end(head):
        groups = [_pixels("boxes", 2, 0, 4, ranked=True), *_ranked(classes)]
        groups += _extra_groups(head, 2, 6, extras, ranked=True)
    else:
        groups = [_pixels("boxes", 1, 0, 4), OutputGroup("scores", "scores", 1, 4, 4 + classes)]
        groups += _extra_groups(head, 1, 4 + classes, extras)
    rows = OutputSpec("output0", groups=tuple(groups))
    if kind.task == "segment":
        return rows, OutputSpec("output1", groups=(OutputGroup("prototypes", "values"),))
    return (rows,)


def _pixels(name: str, axis: int, start: int, stop: int, *, ranked: bool = False) -> OutputGroup:
    limit = Tolerance(0.02, 1e-5, "float32 sums in another order, times strides of up to 64")
    return OutputGroup(name, "pixels", axis, start, stop, tolerances={"fp32": limit}, rank_sensitive=ranked)


def _ranked(classes: int) -> tuple[OutputGroup, OutputGroup]:
    """Score and class of rows that are sorted by score: two rows with nearly equal scores may swap."""
    ties = Tolerance(
        float(classes), reason="two rows with nearly equal scores may swap; link 5 compares the detections"
    )
    same = Tolerance(0.0, reason="same class")
    labels = {"fp32": same, "*": ties}
    return (
        OutputGroup("scores", "scores", 2, 4, 5, rank_sensitive=True),
        OutputGroup("labels", "values", 2, 5, 6, tolerances=labels, rank_sensitive=True),
    )


def _extra_groups(head: Any, axis: int, start: int, extras: int, *, ranked: bool = False) -> list[OutputGroup]:
    kind = kind_of(head)
    assert kind is not None
    if kind.task == "pose":  # x, y (and visibility) of one point after another: one group holds both units
        return [_pixels("keypoints", axis, start, start + extras, ranked=ranked)]
    if kind.task == "segment":
        return [OutputGroup("coefficients", "values", axis, start, start + extras, rank_sensitive=ranked)]
    if kind.task == "obb":
        exact = Tolerance(1e-3, reason="radians: 0.001 moves the end of a side of 600 pixels by 0.3 pixels")
        return [
            OutputGroup("angles", "values", axis, start, start + 1, tolerances={"fp32": exact}, rank_sensitive=ranked)
        ]
    return []


def decoder_of(network: Any) -> DecoderSpec:
    """The decoder, with its parameters for this network."""
    head = network.model[-1]
    kind = kind_of(head)
    assert kind is not None
    if kind.task == "classify":
        return DecoderSpec("classify", {"probabilities": True})
    if kind.decoder == "rtdetr":
        return DecoderSpec("rtdetr")
    ends = is_end_to_end(head)
    if kind.task == "detect":
        return DecoderSpec("yolo_end2end" if ends else "yolo")
    params: dict[str, Any] = {"rows": "end2end", "iou": None} if ends else {}
    if kind.task == "pose":
        shape = tuple(int(number) for number in head.kpt_shape)
        params |= {"keypoints": shape, "skeleton": skeleton_of(network, shape[0])}
    return DecoderSpec(kind.decoder, params)


def skeleton_of(network: Any, keypoints: int) -> tuple[tuple[int, int], ...]:
    """Pairs of connected keypoints: those in the config, those of a person if there are 17, else none."""
    named = network.yaml.get("skeleton") if isinstance(getattr(network, "yaml", None), dict) else None
    if isinstance(named, (list, tuple)) and all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in named):
        pairs = tuple((int(first), int(second)) for first, second in named)
        if all(0 <= point < keypoints for pair in pairs for point in pair):
            return pairs
    return COCO_SKELETON if keypoints == 17 else ()


def transform_of(network: Any, stride: int) -> ImageTransform:
    """The preprocessing of Ultralytics' predictor for this head, at a fixed size."""
    kind = kind_of(network.model[-1])
    assert kind is not None
    if kind.task == "classify":
        return ImageTransform(resize="crop", library="pil")
    return ImageTransform(resize="stretch" if kind.decoder == "rtdetr" else "letterbox", stride=stride)


def expected_shape(head: Any, cells: int) -> list[int]:
    """The shape of ``output0`` for one image, given the number of cells of all levels."""
    kind = kind_of(head)
    assert kind is not None
    if kind.task == "classify":
        return [1, int(head.linear.out_features)]
    if kind.decoder == "rtdetr":
        return [1, min(int(head.num_queries), cells * int(head.nc)), 6]
    extras = extras_of(head)
    if is_end_to_end(head):
        return [1, min(int(head.max_det), cells), 6 + extras]
    return [1, 4 + int(head.nc) + extras, cells]


def decoded(outputs: Any) -> Any:
    """The output of a network in eval mode, or with its export switch on, without the raw predictions.

    One tensor, or rows and prototypes.
    """
    if isinstance(outputs, torch.Tensor):
        return outputs
    first = outputs[0]
    if isinstance(first, (tuple, list)):  # ((rows, prototypes), raw)
        return tuple(first)
    second = outputs[1] if len(outputs) > 1 else None
    if isinstance(second, torch.Tensor) and second.ndim == 4:  # (rows, prototypes): the export switch is on
        return first, second
    return first


def recorded_outputs(output: Any) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The first output of a network, and all outputs that may depend on the recorded state.

    For a network with two heads, these are the outputs of both, because the exported head is chosen later.
    """
    outputs = list(output) if isinstance(output, (tuple, list)) else [output]
    first = list(outputs[0]) if isinstance(outputs[0], (tuple, list)) else [outputs[0]]
    second = outputs[1] if len(outputs) > 1 else None
    if isinstance(second, torch.Tensor) and second.ndim == 4:  # prototypes
        first.append(second)
    raw = second if isinstance(second, dict) else {}
    if "one2one" in raw:
        first += [
            tensor
            for branch in ("one2many", "one2one")
            for tensor in raw[branch].values()
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        ]
    return first[0], first
