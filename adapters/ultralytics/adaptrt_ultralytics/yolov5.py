"""Adapter ``yolov5``: checkpoints of the package ``ultralytics`` and of the classic ``ultralytics/yolov5`` repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt import Conversion, ModelSpec, Patch, hookimpl
from adaptrt_ultralytics.options import Yolov5Options

if TYPE_CHECKING:
    from adaptrt_ultralytics.classic.model import ClassicModel
    from adaptrt_ultralytics.classic.original import OriginalClassic
    from adaptrt_ultralytics.new_family import DecodedOutput

    Network = ClassicModel | OriginalClassic | DecodedOutput


@hookimpl
def adapter_options() -> type[Yolov5Options]:
    return Yolov5Options


@hookimpl
def load_model(ctx: Conversion) -> Network:
    from adaptrt_ultralytics.load import load_any

    return load_any(ctx)


@hookimpl
def model_spec(ctx: Conversion, model: Network) -> ModelSpec:
    from adaptrt_ultralytics.new_family import DecodedOutput, new_family_spec

    if isinstance(model, DecodedOutput):
        return new_family_spec(ctx, model)
    from adaptrt_ultralytics.classic_family import classic_spec

    return classic_spec(ctx, model)


@hookimpl
def patches(model: Network, spec: ModelSpec) -> Iterable[Patch]:
    from adaptrt_ultralytics.new_family import DecodedOutput

    if isinstance(model, DecodedOutput):
        from adaptrt_ultralytics.head_patches import network_patches

        return network_patches(model, spec)
    from adaptrt_ultralytics.classic_family import classic_patches

    return classic_patches(model, spec)


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Any:
    from adaptrt_ultralytics.framework import ultralytics_predictions, warn_of_scaling
    from adaptrt_ultralytics.load import load_any, repo_of
    from adaptrt_ultralytics.new_family import DecodedOutput

    model = load_any(ctx)
    if isinstance(model, DecodedOutput):
        warn_of_scaling(ctx, image)
        return ultralytics_predictions(model, image, spec)
    from adaptrt_ultralytics.checkpoints import open_checkpoint
    from adaptrt_ultralytics.classic.original import OriginalClassic, original_predictions

    source = ctx.request.weights or ctx.request.source
    network = model if isinstance(model, OriginalClassic) else open_checkpoint(source)
    return original_predictions(network, image, spec, repo_of(ctx))
