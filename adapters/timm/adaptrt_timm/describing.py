"""Specs out of timm's configs, and timm's own road from an image to classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import timm
import torch
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform

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
from adaptrt_timm.loading import asked_size, constructor_args, image_size, is_fixed, labels_of
from adaptrt_timm.options import TimmOptions
from adaptrt_timm.source import Source

if TYPE_CHECKING:
    from torch import nn

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
    """One image in, logits [B, classes] out, prepared as the model's ``pretrained_cfg`` says."""
    options: TimmOptions = ctx.options or TimmOptions()
    config = data_config(ctx, model, source, stride)
    channels, height, width = config["input_size"]
    if is_fixed(model) and _asks_for_sizes(ctx):
        raise ShapeError(
            f"Height and width of {source.name} cannot be dynamic: its windows and positions are laid out for one size.",
            hint="Choose the size with --imgsz; the batch may be dynamic.",
        )
    labels = labels_of(model, options, source)
    if source.weights is None:
        warn_of_random_weights(ctx, source.name)
    return ModelSpec(
        inputs=(InputSpec("images", ((_BATCH, *map(Dim.fixed, (channels, height, width))),)),),
        outputs=(OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),),
        task="classify",
        image=_image_transform(config, stride) if channels == 3 else None,
        decoder=DecoderSpec("classify"),
        labels=labels,
        exporter=exporter,
        metadata={
            "timm.version": timm.__version__,
            "timm.architecture": source.name,
            "timm.weights": source.weights.name if source.weights else f"random, seed {ctx.request.seed}",
        },
    )


def _asks_for_sizes(ctx: Conversion) -> bool:
    asked = ctx.request.shapes
    ranges = any(axis.dynamic for profiles in asked.shapes.values() for shape in profiles for axis in shape[-2:])
    several = any(len({shape[-2:] for shape in profiles}) > 1 for profiles in asked.shapes.values())
    return ranges or several or (asked.dynamic is not None and "hw" in asked.dynamic)


def data_config(ctx: Conversion, model: nn.Module, source: Source, stride: int) -> dict[str, Any]:
    """timm's data config of the model, at the size asked for."""
    options: TimmOptions = ctx.options or TimmOptions()
    size = asked_size(ctx, stride) or image_size(model)
    channels = getattr(model, "in_chans", constructor_args(ctx, source).get("in_chans", 3))
    asked = {"input_size": (channels, *size), "crop_pct": options.crop_pct, "crop_mode": options.crop_mode}
    return dict(resolve_data_config(asked, model=model))  # type: ignore[no-untyped-call]


def timm_predictions(
    ctx: Conversion, model: nn.Module, source: Source, image: Path, *, stride: int = 1
) -> Classification:
    """timm's own transform and model on one image: the five most likely classes."""
    from PIL import Image

    transform = create_transform(**data_config(ctx, model, source, stride))
    with Image.open(image) as image:
        pixels = transform(image.convert("RGB"))
    with torch.inference_mode():
        scores = model(pixels[None])[0].softmax(-1)
    best = scores.topk(min(5, len(scores)))
    return Classification(
        best.values.numpy().astype(np.float32),
        best.indices.numpy().astype(np.int64),
        labels_of(model, ctx.options or TimmOptions(), source),
    )


def _image_transform(config: dict[str, Any], stride: int) -> ImageTransform:
    mode, fraction = config["crop_mode"], float(config["crop_pct"])
    if mode == "center":
        resize: Any = "crop"
    elif mode == "squash" and fraction == 1.0:
        resize = "stretch"
    else:
        raise UsageError(
            f"Images cut by crop_mode={mode!r} with crop_pct={fraction:g} are not supported.",
            hint="Choose another cut: --set crop_mode=center, or --set crop_mode=squash --set crop_pct=1",
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
