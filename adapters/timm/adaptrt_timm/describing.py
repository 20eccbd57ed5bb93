"""Specs from timm's configs, and timm's own inference pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import nn

from adaptrt import (
    Classification,
    Conversion,
    DecoderSpec,
    Dim,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    ShapeError,
    UsageError,
)
from adaptrt.checkpoint import warn_of_random_weights
from adaptrt.vision.images import frameworks_read, read_image
from adaptrt_timm.loading import image_size, input_channels, is_fixed, labels_of, requested_size
from adaptrt_timm.options import TimmOptions
from adaptrt_timm.source import Source

_BATCH = Dim(1, 8, 16, "batch")
_INTERPOLATIONS = {"nearest": "nearest", "bilinear": "linear", "bicubic": "cubic", "box": "area"}


def classifier_spec(
    ctx: Conversion,
    model: nn.Module,
    source: Source,
    *,
    stride: int = 1,
    exporter: Literal["dynamo", "torchscript"] | None = None,
) -> ModelSpec:
    """The spec: one image input, preprocessed according to the model's ``pretrained_cfg``, and logits [B, classes].

    Without a head, the output is an embedding [B, features]; with ``features_only``, the feature maps of the stages. Both
    have the task ``values``.
    """
    options: TimmOptions = ctx.options or TimmOptions()
    config = data_config(ctx, model, source, stride)
    channels, height, width = config["input_size"]
    if is_fixed(model) and _wants_dynamic_size(ctx):
        raise ShapeError(
            f"Height and width of {source.name} cannot be dynamic: its windows and position embeddings are built for one size.",
            hint="Choose the size with --imgsz; the batch may be dynamic.",
        )
    names = getattr(model, "feature_names", None) or (("embedding",) if model.num_classes == 0 else None)
    labels = () if names else labels_of(model, options, source)
    logits = OutputSpec("logits", groups=(OutputGroup("logits", "logits"),))
    outputs = tuple(OutputSpec(name, groups=(OutputGroup(name, "values"),)) for name in names) if names else (logits,)
    if source.weights is None:
        warn_of_random_weights(ctx, source.name, network=model)
    return ModelSpec(
        inputs=(InputSpec("images", ((_BATCH, *map(Dim.fixed, (channels, height, width))),)),),
        outputs=outputs,
        task="values" if names else "classify",
        image=_image_transform(ctx, config, stride, channels),
        decoder=DecoderSpec("raw" if names else "classify"),
        labels=labels,
        exporter=exporter,
        metadata={
            "timm.version": timm.__version__,
            "timm.architecture": source.name,
            "timm.weights": source.weights.name if source.weights else f"random, seed {ctx.request.seed}",
        },
    )


def _wants_dynamic_size(ctx: Conversion) -> bool:
    asked = ctx.request.shapes
    ranges = any(axis.dynamic for profiles in asked.shapes.values() for shape in profiles for axis in shape[-2:])
    several = any(len({shape[-2:] for shape in profiles}) > 1 for profiles in asked.shapes.values())
    return ranges or several or (asked.dynamic is not None and "hw" in asked.dynamic)


def data_config(ctx: Conversion, model: nn.Module, source: Source, stride: int) -> dict[str, Any]:
    """timm's data config of the model, at the requested size."""
    options: TimmOptions = ctx.options or TimmOptions()
    size = requested_size(ctx, stride) or image_size(model)
    asked = {
        "input_size": (input_channels(ctx, model, source), *size),
        "crop_pct": options.crop_pct,
        "crop_mode": options.crop_mode,
        "mean": options.mean,
        "std": options.std,
    }
    return dict(resolve_data_config(asked, model=model))  # type: ignore[no-untyped-call]


def timm_predictions(
    ctx: Conversion, model: nn.Module, source: Source, image: Path, *, stride: int = 1
) -> Classification | str:
    """The five most likely classes by timm's own transform and model on one image; or the reason why there are none."""
    if hasattr(model, "feature_names") or model.num_classes == 0:
        return "not available: timm has an inference pipeline for classes only, not for features"
    config = data_config(ctx, model, source, stride)
    channels = config["input_size"][0]
    if channels not in (1, 3):
        return f"not available: timm has no inference pipeline for images with {channels} channels"
    transform = create_transform(**config)
    pixels = transform(_pillow_image(image, channels))
    with torch.inference_mode():
        scores = model(pixels[None])[0].softmax(-1)
    best = scores.topk(min(5, len(scores)))
    return Classification(
        best.values.numpy().astype(np.float32),
        best.indices.numpy().astype(np.int64),
        labels_of(model, ctx.options or TimmOptions(), source),
    )


def _pillow_image(image: Path, channels: int) -> Any:
    from PIL import Image

    if not frameworks_read(image, channels):
        pixels = read_image(image, channels)
        return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    with Image.open(image) as opened:
        return opened.convert("L" if channels == 1 else "RGB")


def _image_transform(ctx: Conversion, config: dict[str, Any], stride: int, channels: int) -> ImageTransform | None:
    """The image transform; ``None`` if the normalization of the channels is unknown, because timm's configs are for RGB."""
    for name in ("mean", "std"):
        if len(config[name]) not in (1, channels) and len(set(config[name])) > 1:
            ctx.warn(
                f"{name} has {len(config[name])} values and the model takes {channels} channels: the file takes arrays, "
                f"not images. Specify the values used in training: --set mean=[...] --set std=[...]"
            )
            return None
    mode, fraction = config["crop_mode"], float(config["crop_pct"])
    if mode == "center":
        resize: Any = "crop"
    elif mode == "squash" and fraction == 1.0:
        resize = "stretch"
    else:
        raise UsageError(
            f"crop_mode={mode!r} with crop_pct={fraction:g} is not supported.",
            hint="Use --set crop_mode=center, or --set crop_mode=squash --set crop_pct=1.",
        )
    if config["interpolation"] not in _INTERPOLATIONS:
        raise UsageError(f"Interpolation {config['interpolation']!r} is not supported.")
    return ImageTransform(
        resize=resize,
        interpolation=_INTERPOLATIONS[config["interpolation"]],  # type: ignore[arg-type]
        library="pil",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        crop_fraction=fraction if resize == "crop" else 1.0,
        stride=stride,
    )
