"""Adapter ``yolo``: detection networks with Ultralytics' anchor-free head (v5u, v8, v11, v12 ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Conversion, Detections, ModelSpec, Patch, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from adaptrt_ultralytics.new_family import DecodedOutput


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
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections:
    from adaptrt_ultralytics.load import load_new
    from adaptrt_ultralytics.new_family import ultralytics_predictions

    return ultralytics_predictions(load_new(ctx), image, spec)
