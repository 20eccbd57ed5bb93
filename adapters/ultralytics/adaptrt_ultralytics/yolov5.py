"""Adapter ``yolov5``: checkpoints of the package ``ultralytics`` and of the classic ``ultralytics/yolov5`` repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import Conversion, Detections, ModelSpec, Patch, hookimpl

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.model import ClassicModel
    from adaptrt_ultralytics.new_family import DecodedOutput


@hookimpl
def load_model(ctx: Conversion) -> ClassicModel | DecodedOutput:
    from adaptrt_ultralytics.load import load_any

    return load_any(ctx)


@hookimpl
def model_spec(ctx: Conversion, model: ClassicModel | DecodedOutput) -> ModelSpec:
    from adaptrt_ultralytics.new_family import DecodedOutput, new_family_spec

    if isinstance(model, DecodedOutput):
        return new_family_spec(ctx, model)
    from adaptrt_ultralytics.classic_family import classic_spec

    return classic_spec(ctx, model)


@hookimpl
def patches(model: ClassicModel | DecodedOutput, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_ultralytics.new_family import DecodedOutput

    if isinstance(model, DecodedOutput):
        from adaptrt_ultralytics.head_patches import network_patches

        return network_patches(model, spec)
    from adaptrt_ultralytics.classic_family import classic_patches

    return classic_patches(model, spec)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections | None:
    from adaptrt_ultralytics.load import load_any
    from adaptrt_ultralytics.new_family import DecodedOutput, ultralytics_predictions

    model = load_any(ctx)
    # the repository of the classic family is not installed: there is no framework pipeline to compare with
    return ultralytics_predictions(model, image, spec) if isinstance(model, DecodedOutput) else None
