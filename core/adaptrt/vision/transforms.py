"""Converts images to input tensors exactly as the frameworks do: Ultralytics' LetterBox, timm's eval transform."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ImageError, ShapeError
from adaptrt.predictions import ImageMeta
from adaptrt.vision.opencv import cv2
from adaptrt.vision.resampling import resize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from adaptrt.specs import ImageTransform, ModelSpec
    from adaptrt.vision.images import ImageArray

Size = tuple[int, int]


def transform_batch(
    images: Sequence[ImageArray], spec: ModelSpec
) -> tuple[dict[str, NDArray[np.float32]], list[ImageMeta]]:
    """Images, uint8 [H, W, C] of any sizes, to ``{input: float32 [N, C, h, w]}`` and where each lies in it."""
    height, width = spec.image_size  # raises if the model has no image input
    assert spec.image is not None
    batch = np.empty((len(images), spec.image_channels, height, width), np.float32)
    metas = [
        transform_image(image, spec.image, (height, width), out=slot)[1]
        for image, slot in zip(images, batch, strict=True)
    ]
    return {spec.image.input: batch}, metas


def transform_image(
    image: ImageArray, transform: ImageTransform, size: Size, *, out: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float32], ImageMeta]:
    """An image, uint8 [H, W, C], to float32 [C, h, w] of ``size`` (h, w), written into ``out`` if given.

    Without ``out`` C is 3, RGB.
    """
    channels = 3 if out is None else len(out)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels or not image.size:
        raise ImageError(
            f"Images must be uint8 [H, W, {channels}]; got {image.dtype} {list(image.shape)}.",
            hint="Use adaptrt.vision.images.read_image.",
        )
    if out is None:
        out = np.empty((channels, *size), np.float32)
    return out, _PLACINGS[transform.resize](image, transform, size, out)


def _letterbox(image: ImageArray, transform: ImageTransform, size: Size, out: NDArray[np.float32]) -> ImageMeta:
    """Keep the aspect ratio and pad the rest; sizes and offsets round as in ``ultralytics.data.augment.LetterBox``."""
    (height, width), original = size, (image.shape[0], image.shape[1])
    ratio = min(height / original[0], width / original[1])
    inner = (max(round(original[0] * ratio), 1), max(round(original[1] * ratio), 1))
    top = left = 0
    if transform.center:
        top, left = (round((outer - used) / 2 - 0.1) for outer, used in zip(size, inner, strict=True))
    bottom, right = top + inner[0], left + inner[1]

    if inner != size:
        pad = _normalized_pad(transform, len(out))
        for channel, value in zip(out, pad, strict=True):
            channel[:top] = value
            channel[bottom:] = value
            channel[top:bottom, :left] = value
            channel[top:bottom, right:] = value
    resized = resize(image, inner, transform.interpolation, transform.library)
    _normalize(resized, transform, out[:, top:bottom, left:right])
    return _meta(original, size, inner, (top, left))


def _stretch(image: ImageArray, transform: ImageTransform, size: Size, out: NDArray[np.float32]) -> ImageMeta:
    _normalize(resize(image, size, transform.interpolation, transform.library), transform, out)
    return _meta((image.shape[0], image.shape[1]), size, size, (0, 0))


def _crop(image: ImageArray, transform: ImageTransform, size: Size, out: NDArray[np.float32]) -> ImageMeta:
    """Resize with the aspect ratio kept, then center-crop; sizes round as in ``timm.data.transforms_factory``, crop_mode center."""
    if not 0 < transform.crop_fraction <= 1:
        raise ShapeError(
            f"crop_fraction must be in (0, 1]; got {transform.crop_fraction}.", hint="For example: crop_fraction=0.875"
        )
    original = height, width = image.shape[0], image.shape[1]
    wanted_h, wanted_w = (math.floor(side / transform.crop_fraction) for side in size)
    if wanted_h != wanted_w:  # timm's ResizeKeepRatio
        ratio = min(height / wanted_h, width / wanted_w)
        inner = (round(height / ratio), round(width / ratio))
    elif width <= height:  # torchvision's Resize
        inner = (int(wanted_w * height / width), wanted_w)
    else:
        inner = (wanted_h, int(wanted_h * width / height))
    resized = resize(image, inner, transform.interpolation, transform.library)
    top, left = (round((used - cut) / 2) for used, cut in zip(inner, size, strict=True))
    _normalize(resized[top : top + size[0], left : left + size[1]], transform, out)
    return _meta(original, size, inner, (-top, -left))


def _square(image: ImageArray, transform: ImageTransform, size: Size, out: NDArray[np.float32]) -> ImageMeta:
    """Cut the largest centered square and resize that, as ``CenterCrop`` of the classic YOLOv5 repository."""
    original = height, width = image.shape[0], image.shape[1]
    side = min(original)
    top, left = (height - side) // 2, (width - side) // 2
    cut = image[top : top + side, left : left + side]
    _normalize(resize(cut, size, transform.interpolation, transform.library), transform, out)
    scale = (size[0] / side, size[1] / side)
    return ImageMeta(original_size=original, input_size=size, scale=scale, offset=(-top * scale[0], -left * scale[1]))


_PLACINGS: dict[str, Callable[[ImageArray, ImageTransform, Size, NDArray[np.float32]], ImageMeta]] = {
    "letterbox": _letterbox,
    "stretch": _stretch,
    "crop": _crop,
    "square": _square,
}


def _meta(original: Size, size: Size, inner: Size, offset: Size) -> ImageMeta:
    return ImageMeta(
        original_size=original,
        input_size=size,
        scale=(inner[0] / original[0], inner[1] / original[1]),
        offset=(float(offset[0]), float(offset[1])),
    )


def _normalize(pixels: ImageArray, transform: ImageTransform, out: NDArray[np.float32]) -> None:
    """uint8 [h, w, C] to float32 [C, h, w], RGB in the channel order that ``transform`` wants."""
    planes = cv2.split(pixels)
    swapped = transform.colors == "bgr" and len(planes) == 3
    for channel, plane in enumerate(planes[::-1] if swapped else planes):
        _normalize_plane(plane, transform, channel, out[channel])


def _normalize_plane(plane: ImageArray, transform: ImageTransform, channel: int, out: NDArray[np.float32]) -> None:
    """``(plane * scale - mean) / std`` in float32, rounded after each step, as in torch.

    Scales such as 1/255 are divisions: ``x * float32(1 / 255)`` differs from ``x / 255`` in the last bit.
    """
    divisor = 1 / transform.scale
    if transform.scale == 1:
        np.copyto(out, plane)
    elif divisor.is_integer():
        np.divide(plane, np.float32(divisor), out=out, dtype=np.float32)
    else:
        np.multiply(plane, np.float32(transform.scale), out=out, dtype=np.float32)
    mean, std = _of_channel(transform.mean, channel, "mean"), _of_channel(transform.std, channel, "std")
    if mean:
        np.subtract(out, np.float32(mean), out=out)
    if std != 1:
        np.divide(out, np.float32(std), out=out)


def _of_channel(values: tuple[float, ...], channel: int, name: str) -> float:
    if channel < len(values):
        return values[channel]
    if len(set(values)) > 1:
        raise ShapeError(
            f"The image has more channels than {name} has values ({len(values)}).",
            hint=f"Specify a value of {name} for each channel.",
        )
    return values[0]


def _normalized_pad(transform: ImageTransform, channels: int) -> list[np.float32]:
    if transform.pad is None:
        return [np.float32(0)] * channels
    pad = np.array([transform.pad], np.uint8)
    values = np.empty((channels, 1), np.float32)
    for channel, value in enumerate(values):
        _normalize_plane(pad, transform, channel, value)
    return [value[0] for value in values]
