"""Adapter ``detr``: DETR of MMDetection, and its family (Conditional-, DAB-, Deformable-DETR, DINO)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import Conversion, Detections, ImageMeta, ModelSpec, Patch, hookimpl
from adaptrt_mmdet.options import DetrOptions

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from adaptrt_mmdet.query_family import QueryDetector


@hookimpl
def adapter_options() -> type[DetrOptions]:
    return DetrOptions


@hookimpl
def load_model(ctx: Conversion) -> QueryDetector:
    from adaptrt_mmdet.query_family import wrap
    from adaptrt_mmdet.sources import open_source

    return wrap(open_source(ctx), ctx.options).eval()


@hookimpl
def model_spec(ctx: Conversion, model: QueryDetector) -> ModelSpec:
    from adaptrt_mmdet.query_family import query_spec

    return query_spec(ctx, model)


@hookimpl
def example_inputs(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, torch.Tensor] | None:
    """Padded images, if padding is masked."""
    if not ctx.options or ctx.options.padding != "mask":
        return None
    from adaptrt_mmdet.masks import masked_examples

    return masked_examples(ctx, spec, shapes, seed)


@hookimpl
def patches(model: QueryDetector, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_mmdet.patches import query_patches

    return query_patches(model, spec)


@hookimpl
def preprocess(image: NDArray[np.uint8], spec: ModelSpec) -> tuple[Mapping[str, NDArray[Any]], ImageMeta] | None:
    """Adds the mask to the image; without a mask, core's own preprocessing."""
    if len(spec.inputs) == 1:
        return None
    from adaptrt_mmdet.masks import masked_image

    return masked_image(image, spec)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections | None:
    if ctx.options.raw:
        return None
    from adaptrt_mmdet.framework import mmdet_predictions

    return mmdet_predictions(ctx, image, spec)
