"""Spec and patches of the classic, anchor-based network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import (
    Conversion,
    DecoderSpec,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Patch,
    ShapeError,
    SwitchPatch,
)
from adaptrt_ultralytics.classic.model import ClassicModel
from adaptrt_ultralytics.new_family import box_groups, note_rebuilt

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.original import OriginalClassic

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What the repository's ``classify_transforms`` normalizes with, whatever a classifier was trained on."""


def classic_spec(ctx: Conversion, model: ClassicModel | OriginalClassic) -> ModelSpec:
    """The outputs of the repository's own export: ``output0``, and ``output1`` for prototypes of masks.

    Rows, float32 [B, N, 5 + nc + nm]: cx cy w h in input pixels, objectness, class scores, mask coefficients. Of a
    classifier logits, [B, nc].
    """
    names = tuple(model.names[index] for index in range(model.nc))
    if isinstance(model, ClassicModel):
        note_rebuilt(ctx)
    height, width = model.size or ((224, 224) if model.task == "classify" else (640, 640))
    boxes = box_groups(boxes=(0, 4), scores=(4, 5 + model.nc), axis=2)
    image = ImageTransform(resize="letterbox", stride=int(model.stride.max()))
    if model.task == "classify":
        outputs: tuple[OutputSpec, ...] = (OutputSpec("output0", groups=(OutputGroup("logits", "logits"),)),)
        decoder = DecoderSpec("classify")
        image = ImageTransform(resize="square", mean=IMAGENET_MEAN, std=IMAGENET_STD)
    elif model.task == "segment":
        coefficients = OutputGroup("coefficients", "values", 2, 5 + model.nc, None)
        outputs = (
            OutputSpec("output0", groups=(*boxes, coefficients)),
            OutputSpec("output1", groups=(OutputGroup("prototypes", "values"),)),
        )
        # iou: the default of the classic predict.py
        decoder = DecoderSpec("yolo_segment", {"rows": "anchor", "iou": 0.45, "enlarge": "probabilities"})
    else:
        outputs = (OutputSpec("output0", groups=boxes),)
        decoder = DecoderSpec("yolo_anchor", {"iou": 0.45})  # the default of the classic detect.py
    return ModelSpec(
        inputs=(InputSpec.image(height, width, channels=model.channels),),
        outputs=outputs,
        task=model.task,
        image=image,
        decoder=decoder,
        labels=names,
        metadata={"stride": str(int(model.stride.max())), "names": str(dict(enumerate(names)))},
        exporter="torchscript",
    )


def classic_patches(model: ClassicModel | OriginalClassic, spec: ModelSpec) -> list[Patch]:
    """The rebuilt head follows the export rules; it only needs to know whether height and width are dynamic.

    The repository's own head keeps the grid of the last size, so its sizes are fixed.
    """
    if not isinstance(model, ClassicModel):
        if spec.dynamic_size:
            raise ShapeError(
                "Height and width cannot be dynamic for a classic network loaded with --trust-checkpoint: its own head "
                "keeps the grid of one size.",
                hint="Set a fixed size with --imgsz, or omit --trust-checkpoint: the rebuilt head supports a dynamic size.",
            )
        return []
    if model.head is None:
        return []
    if spec.dynamic_size:
        values, reason = {"dynamic": True}, "the grid is computed from the input size inside the graph"
    else:
        values, reason = model.head.constants(*spec.image_size), "for a fixed input size, the grid is a constant"
    return [
        SwitchPatch(
            target="adaptrt_ultralytics.classic.head:AnchorDetect",
            values=values,
            reason=reason,
            requires="adaptrt-ultralytics>=0.1",
        )
    ]
