"""Spec and patches of the classic, anchor-based network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import (
    Conversion,
    DecoderSpec,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputSpec,
    Patch,
    ShapeError,
    SwitchPatch,
)
from adaptrt_ultralytics.classic.model import ClassicModel
from adaptrt_ultralytics.new_family import box_groups, note_rebuilt

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.original import OriginalClassic


def classic_spec(ctx: Conversion, model: ClassicModel | OriginalClassic) -> ModelSpec:
    """One output, float32 [B, N, 5 + nc]: cx cy w h in input pixels, objectness, class scores."""
    names = tuple(model.names[index] for index in range(model.nc))
    if isinstance(model, ClassicModel):
        note_rebuilt(ctx)
    return ModelSpec(
        inputs=(InputSpec.image(640, 640, channels=model.channels),),
        outputs=(OutputSpec("output0", groups=box_groups(boxes=(0, 4), scores=(4, 5 + model.nc), axis=2)),),
        task="detect",
        image=ImageTransform(resize="letterbox", stride=int(model.stride.max())),
        decoder=DecoderSpec("yolo_anchor", {"iou": 0.45}),  # the default of the classic detect.py
        labels=names,
        metadata={"stride": str(int(model.stride.max())), "names": str(dict(enumerate(names)))},
        exporter="torchscript",
    )


def classic_patches(model: ClassicModel | OriginalClassic, spec: ModelSpec) -> list[Patch]:
    """Our own head follows the export rules; all it has to know is whether height and width stay open.

    The repository's own head keeps the grid of the last size, so that its sizes are fixed.
    """
    if not isinstance(model, ClassicModel):
        if spec.dynamic_size:
            raise ShapeError(
                "Height and width cannot be dynamic for a classic network loaded with --trust-checkpoint: its own head "
                "keeps the grid of one size.",
                hint="Fix the size with --imgsz, or leave --trust-checkpoint out: the rebuilt head has a dynamic grid.",
            )
        return []
    if spec.dynamic_size:
        values, reason = {"dynamic": True}, "the grid follows the size of the input inside the graph"
    else:
        values, reason = model.head.constants(*spec.image_size), "the grid of a fixed size is a constant"
    return [
        SwitchPatch(
            target="adaptrt_ultralytics.classic.head:AnchorDetect",
            values=values,
            reason=reason,
            requires="adaptrt-ultralytics>=0.1",
        )
    ]
