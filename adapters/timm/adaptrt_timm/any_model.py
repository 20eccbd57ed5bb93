"""Adapter ``timm``: any classifier of timm, unpatched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Classification, Conversion, ModelSpec, hookimpl
from adaptrt_timm.options import TimmOptions

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from adaptrt_timm.source import Source


@hookimpl
def adapter_options() -> type[TimmOptions]:
    return TimmOptions


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    from adaptrt_timm.loading import load

    return load(ctx, _source(ctx))


@hookimpl
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec:
    from adaptrt_timm.describing import classifier_spec

    return classifier_spec(ctx, model, _source(ctx))


@hookimpl
def framework_predictions(ctx: Conversion, image: Path) -> Classification | str:
    from adaptrt_timm.describing import timm_predictions

    return timm_predictions(ctx, load_model(ctx), _source(ctx), image)


def _source(ctx: Conversion) -> Source:
    import timm

    from adaptrt_timm.source import find_source

    return find_source(ctx, timm.list_models(), "timm model")
