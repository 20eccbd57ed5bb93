"""Models of timm, built by its own factory and filled with weights that are read as data."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

from adaptrt import CheckpointError, Conversion, ImageTransform, InputSpec, ModelError, ModelSpec, UsageError
from adaptrt.checkpoint import fill_model, take_noise_statistics
from adaptrt_timm.config import require_network_arguments
from adaptrt_timm.options import TimmOptions
from adaptrt_timm.source import Source
from adaptrt_timm.weights import read_weights

_HINT = "Specify the model that they belong to: --set model=..., and its arguments: --set model_args.window_size=..."

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn


def load(ctx: Conversion, source: Source, *, stride: int = 1) -> nn.Module:
    """The model in eval mode, built at the requested image size, rounded up to a multiple of ``stride``.

    Random weights depend on the seed alone; if activations grow out of range, batch norms get statistics of noise.
    """
    trust = ctx.request.trust_checkpoint
    tensors = read_weights(source.weights, trust=trust) if source.weights is not None else None
    options: TimmOptions = ctx.options or TimmOptions()
    model = create(ctx, source, requested_size(ctx, stride), tensors)
    if tensors is not None:
        fill(model, tensors, source, headless=options.num_classes == 0)
    else:
        take_noise_statistics(model.eval(), model, (input_channels(ctx, model, source), *image_size(model)))
    if options.features_only:
        model = feature_maps(model, options, source)
    return model.eval()


def feature_maps(model: nn.Module, options: TimmOptions, source: Source) -> nn.Module:
    """timm's own wrapper, which returns the feature maps [B, C, H, W] of stages as a list."""
    from timm.models._features import FeatureGetterNet

    if not hasattr(model, "forward_intermediates"):
        raise ModelError(
            f"timm does not support feature maps of {source.name}: the model has no forward_intermediates.",
            hint="Convert a part of it instead: --adapter torch timm:create_model --set part=...",
        )
    config: Any = model.pretrained_cfg
    stages = len(getattr(model, "feature_info", ())) or 4
    indices = tuple(range(stages)) if options.out_indices is None else options.out_indices
    try:
        wrapped: Any = FeatureGetterNet(model, out_indices=list(indices))
    except (AssertionError, IndexError, ValueError) as error:
        raise UsageError(
            f"out_indices={list(indices)} does not fit {source.name}: {error}",
            hint=f"It has {stages} stages: 0 to {stages - 1}.",
        ) from error
    wrapped.pretrained_cfg, wrapped.feature_names = config, tuple(f"features{index}" for index in indices)
    wrapped.in_chans = getattr(model, "in_chans", None)
    network: nn.Module = wrapped
    return network


def create(
    ctx: Conversion, source: Source, size: tuple[int, int] | None, tensors: Mapping[str, torch.Tensor] | None = None
) -> nn.Module:
    """The model without its weights; the number of classes is the requested one, else that of the weights."""
    options: TimmOptions = ctx.options or TimmOptions()
    arguments = constructor_args(ctx, source)
    overlay = source.pretrained_cfg
    asked = (options.num_classes, source.config.get("num_classes"), overlay.get("num_classes"))
    classes = next((count for count in asked if count is not None), None)
    if tensors is not None:
        held = _classes_in(tensors, source.name)
        if held and options.num_classes not in (None, 0, held):
            raise CheckpointError(
                f"{source.weights} has a head for {held} classes, not {options.num_classes}.",
                hint="Omit --set num_classes: it is read from the weights.",
            )
        classes = 0 if options.num_classes == 0 else held or classes
    if classes is not None:
        arguments["num_classes"] = int(classes)
    fixed = overlay.get("fixed_input_size", _default(source.name, "fixed_input_size", False))
    if size is not None and fixed:
        arguments["img_size"] = size
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.request.seed)
            model: nn.Module = timm.create_model(
                source.name, pretrained=False, pretrained_cfg_overlay=overlay or None, **arguments
            )
    except Exception as error:
        given = ", ".join(f"{name}={value}" for name, value in arguments.items())
        raise ModelError(
            f"timm cannot build {source.name}({given}): {type(error).__name__}: {error}",
            hint="Check --set model_args, --set num_classes and --imgsz.",
        ) from error
    return model


def constructor_args(ctx: Conversion, source: Source) -> dict[str, Any]:
    """Arguments of timm's constructor: those of the config next to the weights, then ``--set model_args``."""
    options: TimmOptions = ctx.options or TimmOptions()
    require_network_arguments(options.constructor_args)
    return {**(source.config.get("model_args") or {}), **options.constructor_args}


def fill(model: nn.Module, tensors: Mapping[str, torch.Tensor], source: Source, *, headless: bool = False) -> None:
    """Load the weights through the model's own filter, which renames and resizes tensors saved by older releases.

    ``headless``: the model was built without a classifier; that of the weights is ignored.
    """
    module = sys.modules[type(model).__module__]
    convert = getattr(module, "checkpoint_filter_fn", None)
    state = dict(tensors)
    try:
        state = convert(state, model) if convert else state
    except Exception as error:  # another network's tensors trip it in any way
        raise CheckpointError(
            f"{source.weights} does not match {source.name}: {type(error).__name__}: {error}", hint=_HINT
        ) from error
    heads = tuple(f"{name}." for name in _classifiers(source.name)) if headless else ()
    fill_model(
        model, state, source.weights, network=source.name, hint=_HINT, ignored=lambda name: name.startswith(heads)
    )


def image_size(model: nn.Module) -> tuple[int, int]:
    """Height and width that the model was built for, or was trained at if it accepts any."""
    built = getattr(getattr(_inner(model), "patch_embed", None), "img_size", None)
    height, width = built or model.pretrained_cfg["input_size"][-2:]  # type: ignore[index]
    return int(height), int(width)


def input_channels(ctx: Conversion, model: nn.Module, source: Source) -> int:
    """The number of image channels: that of the model, the requested one, or that of the first convolution."""
    own = getattr(model, "in_chans", None)
    if own is None:
        first = (int(module.in_channels) for module in model.modules() if isinstance(module, torch.nn.Conv2d))
        own = constructor_args(ctx, source).get("in_chans", next(first, 3))
    return int(own)


def _inner(model: nn.Module) -> Any:
    """The model inside timm's wrapper for feature maps."""
    return model.model if hasattr(model, "feature_names") else model


def is_fixed(model: nn.Module) -> bool:
    """Whether the model is built for one image size."""
    config: Any = model.pretrained_cfg
    return bool(
        getattr(getattr(_inner(model), "patch_embed", None), "strict_img_size", config.get("fixed_input_size", False))
    )


def requested_size(ctx: Conversion, stride: int) -> tuple[int, int] | None:
    """Requested height and width, rounded up as in the spec; ``None`` if not requested."""
    shapes = ctx.request.shapes
    if shapes.imgsz is None and not shapes.shapes:
        return None
    name = next(iter(shapes.shapes), ctx.request.input_names[0] if ctx.request.input_names else "images")
    spec = ModelSpec(
        inputs=(InputSpec.image(stride, stride, name=name),), image=ImageTransform(input=name, stride=stride)
    )
    return shapes.apply(spec)[0].image_size


def labels_of(model: nn.Module, options: TimmOptions, source: Source) -> tuple[str, ...]:
    """The given labels, else those of the config, else ImageNet's if the number of classes matches."""
    classes = int(getattr(model, "num_classes", 0))
    if options.labels is not None:
        if len(options.class_names) != classes:
            raise UsageError(
                f"{options.labels} has {len(options.class_names)} labels; the model has {classes} classes.",
                hint="List one label per class, in training order; --set num_classes changes the head.",
            )
        return options.class_names
    if len(source.labels) == classes:
        return source.labels
    subset = infer_imagenet_subset({"num_classes": classes})
    if subset is None:
        return ()
    names = ImageNetInfo(subset)
    return tuple(names.index_to_description(index) for index in range(classes))


def _classes_in(tensors: Mapping[str, torch.Tensor], name: str) -> int | None:
    """Number of classes of the head in the weights, under timm's name or that of the original repositories."""
    for candidate in (*_classifiers(name), "head.fc", "head", "fc", "classifier"):
        tensor = tensors.get(f"{candidate}.weight")
        if tensor is not None and tensor.ndim >= 2:
            return int(tensor.shape[0])
    return None


def _classifiers(name: str) -> tuple[str, ...]:
    """timm's names of the classifier layers; a distilled model has two."""
    found = _default(name, "classifier", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _default(name: str, key: str, otherwise: Any) -> Any:
    config = timm.models.get_pretrained_cfg(name)
    value = getattr(config, key, None) if config is not None else None
    return otherwise if value is None else value
