"""Adapter ``mmdet``: detectors of MMDetection with one or two stages, and Mask2Former, from images to boxes in pixels and scores, or to masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import Conversion, Detections, ModelSpec, Patch, UsageError, hookimpl
from adaptrt_mmdet.options import OneAndTwoStageOptions

if TYPE_CHECKING:
    from typing import TypeAlias

    from adaptrt_mmdet.dense_family import DenseDetector
    from adaptrt_mmdet.mask_queries import MaskQueryDetector
    from adaptrt_mmdet.two_stage import TwoStageDetector

    Detector: TypeAlias = DenseDetector | TwoStageDetector | MaskQueryDetector


@hookimpl
def adapter_options() -> type[OneAndTwoStageOptions]:
    return OneAndTwoStageOptions


@hookimpl
def load_model(ctx: Conversion) -> Detector:
    from adaptrt_mmdet.dense_family import wrap_dense
    from adaptrt_mmdet.mask_queries import is_mask_query, wrap_mask_queries
    from adaptrt_mmdet.sources import open_source
    from adaptrt_mmdet.two_stage_family import is_two_stage, wrap_two_stage

    source, options = open_source(ctx), ctx.options
    if is_two_stage(source.detector):
        return wrap_two_stage(source, options, ctx.request.nms).eval()
    for name in ("nms_rounds", "nms_candidates"):
        if getattr(options, name) is not None:
            raise UsageError(
                f"{name} applies only to two-stage detectors.",
                hint=f"Use --nms --{name.replace('_', '-')}, after the source.",
            )
    if is_mask_query(source.detector):
        return wrap_mask_queries(source, raw=options.raw).eval()
    return wrap_dense(source, raw=options.raw, ends_in_nms=ctx.request.nms is not None).eval()


@hookimpl
def model_spec(ctx: Conversion, model: Detector) -> ModelSpec:
    from adaptrt_mmdet.dense_family import DenseDetector, dense_spec
    from adaptrt_mmdet.mask_queries import MaskQueryDetector, mask_query_spec
    from adaptrt_mmdet.two_stage_family import two_stage_spec

    if isinstance(model, MaskQueryDetector):
        return mask_query_spec(ctx, model)
    return dense_spec(ctx, model) if isinstance(model, DenseDetector) else two_stage_spec(ctx, model)


@hookimpl
def patches(model: Detector, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_mmdet.deformable_convolution import convolution_patches
    from adaptrt_mmdet.dense_family import DenseDetector, dense_patches
    from adaptrt_mmdet.mask_queries import MaskQueryDetector
    from adaptrt_mmdet.mask_query_patches import mask_query_patches
    from adaptrt_mmdet.pooling import pooling_patches
    from adaptrt_mmdet.windows import window_patches

    parts = [*convolution_patches(model.detector), *window_patches(model.detector)]
    if isinstance(model, MaskQueryDetector):
        return [*mask_query_patches(model, spec), *parts]
    own = dense_patches(spec) if isinstance(model, DenseDetector) else []
    return [*own, *parts, *pooling_patches(model.detector, spec)]


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections | None:
    from adaptrt_mmdet.framework import mmdet_predictions

    return mmdet_predictions(ctx, image, spec)
