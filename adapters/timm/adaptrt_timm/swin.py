"""Adapter ``swin``: every Swin Transformer (v1) of timm, patched for export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Classification, Conversion, ModelSpec, Patch, hookimpl
from adaptrt_timm.options import TimmOptions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from torch import nn

    from adaptrt_timm.source import Source


@hookimpl
def adapter_options() -> type[TimmOptions]:
    return TimmOptions


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    from adaptrt_timm.loading import load

    source = _source(ctx)
    return load(ctx, source, stride=_stride(ctx, source))


@hookimpl
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec:
    from adaptrt_timm.describing import classifier_spec

    source = _source(ctx)
    # patched, both front ends write the same graph; this one in a tenth of the time
    return classifier_spec(ctx, model, source, stride=_stride(ctx, source), exporter="torchscript")


@hookimpl
def patches(model: nn.Module, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_timm.swin_patches import swin_patches

    return swin_patches(model)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path) -> Classification | str:
    from adaptrt_timm.describing import timm_predictions

    source = _source(ctx)
    return timm_predictions(ctx, load_model(ctx), source, image, stride=_stride(ctx, source))


def _source(ctx: Conversion) -> Source:
    import timm

    from adaptrt_timm.source import find_source

    return find_source(ctx, timm.list_models(module="swin_transformer"), "Swin Transformer (v1)")


def _stride(ctx: Conversion, source: Source) -> int:
    """The side of a patch in pixels; image sizes are rounded up to a multiple of it."""
    from adaptrt_timm.loading import constructor_args

    return int(constructor_args(ctx, source).get("patch_size", 4))
