"""Spec and patches of the classic, anchor-based network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Conversion, DecoderSpec, ImageTransform, InputSpec, ModelSpec, OutputSpec, Patch, SwitchPatch
from adaptrt_ultralytics.new_family import box_groups

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.model import ClassicModel


def classic_spec(ctx: Conversion, model: ClassicModel) -> ModelSpec:
    """One output, float32 [B, N, 5 + nc]: cx cy w h in input pixels, objectness, class scores."""
    names = tuple(model.names[index] for index in range(model.nc))
    return ModelSpec(
        inputs=(InputSpec.image(640, 640),),
        outputs=(OutputSpec("output0", groups=box_groups(boxes=(0, 4), scores=(4, 5 + model.nc), axis=2)),),
        task="detect",
        image=ImageTransform(resize="letterbox", stride=int(model.stride.max())),
        decoder=DecoderSpec("yolo_anchor", {"iou": 0.45}),  # the default of the classic detect.py
        labels=names,
        metadata={"stride": str(int(model.stride.max())), "names": str(dict(enumerate(names)))},
        exporter="torchscript",
    )


def classic_patches(model: ClassicModel, spec: ModelSpec) -> list[Patch]:
    """The rebuilt head follows the export rules; it only needs to know whether height and width are dynamic."""
    if not spec.dynamic_size:
        return [
            SwitchPatch(
                target="adaptrt_ultralytics.classic.head:AnchorDetect",
                values=model.head.constants(*spec.image_size),
                reason="the grid of a fixed size is a constant",
                requires="adaptrt-ultralytics>=0.1",
            )
        ]
    return [
        SwitchPatch(
            target="adaptrt_ultralytics.classic.head:AnchorDetect",
            values={"dynamic": True},
            reason="the grid is computed from the input size inside the graph",
            requires="adaptrt-ultralytics>=0.1",
        )
    ]
