"""Adapter ``mmdet``: one-stage detectors of MMDetection, their heads exported, boxes decoded in numpy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import Conversion, Detections, ModelSpec, Patch, hookimpl
from adaptrt_mmdet.options import MmdetOptions

if TYPE_CHECKING:
    from adaptrt_mmdet.dense_family import DenseDetector


@hookimpl
def adapter_options() -> type[MmdetOptions]:
    return MmdetOptions


@hookimpl
def load_model(ctx: Conversion) -> DenseDetector:
    from adaptrt_mmdet.dense_family import wrap_dense
    from adaptrt_mmdet.sources import open_source

    return wrap_dense(open_source(ctx)).eval()


@hookimpl
def model_spec(ctx: Conversion, model: DenseDetector) -> ModelSpec:
    from adaptrt_mmdet.dense_family import dense_spec

    return dense_spec(ctx, model)


@hookimpl
def patches(spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_mmdet.dense_family import dense_patches

    return dense_patches(spec)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections | None:
    if ctx.options.raw:
        return None
    from adaptrt_mmdet.framework import mmdet_predictions

    return mmdet_predictions(ctx, image, spec)
