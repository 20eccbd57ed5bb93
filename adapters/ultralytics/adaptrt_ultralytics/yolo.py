"""Adapter ``yolo``: networks of the package ``ultralytics`` (v5u, v8, v10, v11, v12, 26, RT-DETR) for every task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptrt import Conversion, ModelSpec, Patch, hookimpl
from adaptrt_ultralytics.yolo_options import YoloOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from adaptrt_ultralytics.new_family import DecodedOutput


@hookimpl
def adapter_options() -> type[YoloOptions]:
    return YoloOptions


@hookimpl
def load_model(ctx: Conversion) -> DecodedOutput:
    from adaptrt_ultralytics.load import load_new

    return load_new(ctx)


@hookimpl
def model_spec(ctx: Conversion, model: DecodedOutput) -> ModelSpec:
    from adaptrt_ultralytics.new_family import new_family_spec

    return new_family_spec(ctx, model)


@hookimpl
def patches(model: DecodedOutput, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_ultralytics.head_patches import network_patches

    return network_patches(model, spec)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Any:
    from adaptrt_ultralytics.framework import ultralytics_predictions, warn_of_scaling
    from adaptrt_ultralytics.load import load_new

    warn_of_scaling(ctx, image)
    return ultralytics_predictions(load_new(ctx), image, spec)
