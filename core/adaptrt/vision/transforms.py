"""Converts images to input tensors exactly as the frameworks do: Ultralytics' LetterBox, timm's eval transform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import ImageError, ShapeError
from adaptrt.vision.opencv import MAX_PIXELS, cv2
from adaptrt.vision.placement import Placement, Size, place
from adaptrt.vision.resampling import resize, resize_in_float, resize_into

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.predictions import ImageMeta
    from adaptrt.specs import ImageTransform, ModelSpec
    from adaptrt.vision.images import ImageArray


def transform_batch(images: Sequence[ImageArray], spec: ModelSpec) -> tuple[dict[str, NDArray[Any]], list[ImageMeta]]:
    """Images, uint8 [H, W, C] of any sizes, to ``{input: float32 [N, C, h, w]}`` and where each lies in it.

    If preprocessing is embedded in the graph, the input is uint8 [N, h, w, C].
    """
    batch = new_batch(spec, len(images))
    assert spec.image is not None
    size = spec.image_size
    metas = [transform_image(image, spec.image, size, out=slot)[1] for image, slot in zip(images, batch, strict=True)]
    return {spec.image.input: batch}, metas


def new_batch(spec: ModelSpec, count: int) -> NDArray[Any]:
    """An uninitialized image input for ``count`` images."""
    shape, dtype = batch_form(spec, count)
    return np.empty(shape, dtype)


def batch_form(spec: ModelSpec, count: int) -> tuple[tuple[int, ...], type[np.generic]]:
    """Shape and element type of the image input: a ``ModelError`` if the model has none."""
    height, width = spec.image_size
    if spec.image is not None and spec.image.embedded:
        return (count, height, width, spec.image_channels), np.uint8
    return (count, spec.image_channels, height, width), np.float32


def transform_image(
    image: ImageArray, transform: ImageTransform, size: Size, *, out: NDArray[Any] | None = None
) -> tuple[NDArray[Any], ImageMeta]:
    """An image, uint8 [H, W, C], to float32 [C, h, w] of ``size`` (h, w), or uint8 [h, w, C] if the rest is embedded in the graph;
    written into ``out`` if given.

    Without ``out`` C is 3, RGB.
    """
    channels = 3 if out is None else out.shape[-1] if transform.embedded else len(out)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != channels or not image.size:
        raise ImageError(
            f"Images must be uint8 [H, W, {channels}]; got {image.dtype} {list(image.shape)}.",
            hint="Use adaptrt.vision.images.read_image.",
        )
    if out is None:
        out = np.empty((*size, channels), np.uint8) if transform.embedded else np.empty((channels, *size), np.float32)
    placement = place((image.shape[0], image.shape[1]), transform, size)
    visible = visible_pixels(image, placement, transform)
    (_write_pixels if transform.embedded else _write_normalized)(visible, placement, transform, out)
    return out, placement.meta


def visible_pixels(image: ImageArray, placement: Placement, transform: ImageTransform) -> NDArray[Any]:
    """The resized image, as far as the input shows it: uint8, or float32 of the same range if it is resized as torch does."""
    (rows, columns), (down, right) = placement.covered, placement.offset
    source = _source(image, placement)
    resized: NDArray[Any]
    if transform.library == "torch":
        resized = resize_in_float(source, placement.inner, transform.interpolation)
    else:
        resized = resize(source, placement.inner, transform.interpolation, transform.library)
    return resized[rows.start - down : rows.stop - down, columns.start - right : columns.stop - right]


def write_visible(image: ImageArray, placement: Placement, transform: ImageTransform, out: ImageArray) -> None:
    """Like ``visible_pixels``, written into ``out``, uint8 [h, w, C] and C-contiguous."""
    if out.shape[:2] == placement.inner and transform.library == "cv2":
        resize_into(_source(image, placement), transform.interpolation, out)
    else:
        np.copyto(out, visible_pixels(image, placement, transform))


def _source(image: ImageArray, placement: Placement) -> ImageArray:
    """The part that is resized; an ``ImageError`` if the result would be too large."""
    top, left, height, width = placement.source
    if placement.inner[0] * placement.inner[1] > MAX_PIXELS:
        raise ImageError(
            f"An image of {height} x {width} pixels would be resized to "
            f"{placement.inner[0]:.4g} x {placement.inner[1]:.4g}: too large.",
            hint=f"The maximum is {MAX_PIXELS:,} pixels. Cut the image to a less extreme shape first.",
        )
    return image[top : top + height, left : left + width]


def _write_pixels(pixels: ImageArray, placement: Placement, transform: ImageTransform, out: NDArray[Any]) -> None:
    """Into uint8 [h, w, C]: the graph normalizes."""
    rows, columns = placement.covered
    if not placement.is_covered:
        out[: rows.start] = out[rows.stop :] = transform.pad
        out[rows, : columns.start] = out[rows, columns.stop :] = transform.pad
    out[rows, columns] = pixels


def _write_normalized(pixels: NDArray[Any], placement: Placement, transform: ImageTransform, out: NDArray[Any]) -> None:
    """Into float32 [C, h, w]."""
    rows, columns = placement.covered
    if not placement.is_covered:
        for channel, value in zip(out, _normalized_pad(transform, len(out)), strict=True):
            channel[: rows.start] = value
            channel[rows.stop :] = value
            channel[rows, : columns.start] = value
            channel[rows, columns.stop :] = value
    _normalize(pixels, transform, out[:, rows, columns])


def normalize_pixels(pixels: NDArray[np.uint8], transform: ImageTransform) -> NDArray[np.float32]:
    """uint8 [N, h, w, C] to float32 [N, C, h, w]: what a graph with embedded preprocessing computes."""
    count, height, width, channels = pixels.shape
    out = np.empty((count, channels, height, width), np.float32)
    for image, slot in zip(pixels, out, strict=True):
        _normalize(image, transform, slot)
    return out


def pixels_of(values: NDArray[Any], transform: ImageTransform) -> NDArray[np.uint8]:
    """float [N, C, h, w] to uint8 [N, h, w, C]: the pixels whose normalized values are nearest to these."""
    mean, std = (
        np.array(channel_values(given, values.shape[1], name)).reshape(-1, 1, 1)
        for given, name in ((transform.mean, "mean"), (transform.std, "std"))
    )
    planes = np.rint((values * std + mean) / transform.scale).clip(0, 255).astype(np.uint8)
    if swaps_channels(transform, values.shape[1]):
        planes = planes[:, ::-1]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def value_table(transform: ImageTransform, channels: int) -> NDArray[np.float32]:
    """float32 [channels, 257]: the input value of every pixel value in each channel, and of padding."""
    table = np.empty((channels, 257), np.float32)
    every = np.arange(256, dtype=np.uint8)
    for channel, values in enumerate(table):
        _normalize_plane(every, transform, channel, values[:256])
    table[:, 256] = _normalized_pad(transform, channels)
    return table


def swaps_channels(transform: ImageTransform, channels: int) -> bool:
    """Whether the network takes BGR: images are RGB."""
    return transform.colors == "bgr" and channels == 3


def _normalize(pixels: NDArray[Any], transform: ImageTransform, out: NDArray[np.float32]) -> None:
    """Pixel values [h, w, C] to float32 [C, h, w], RGB in the channel order that ``transform`` wants."""
    planes = cv2.split(pixels)
    for channel, plane in enumerate(planes[::-1] if swaps_channels(transform, len(planes)) else planes):
        _normalize_plane(plane, transform, channel, out[channel])


def _normalize_plane(plane: NDArray[Any], transform: ImageTransform, channel: int, out: NDArray[np.float32]) -> None:
    """``(plane * scale - mean) / std`` in float32, rounded after each step, as in torch.

    Scales such as 1/255 are divisions: ``x * float32(1 / 255)`` differs from ``x / 255`` in the last bit.
    """
    divisor = divisor_of(transform.scale)
    if divisor == 1:
        np.copyto(out, plane)
    elif divisor is not None:
        np.divide(plane, np.float32(divisor), out=out, dtype=np.float32)
    else:
        np.multiply(plane, np.float32(transform.scale), out=out, dtype=np.float32)
    mean, std = _of_channel(transform.mean, channel, "mean"), _of_channel(transform.std, channel, "std")
    if mean:
        np.subtract(out, np.float32(mean), out=out)
    if std != 1:
        np.divide(out, np.float32(std), out=out)


def divisor_of(scale: float) -> float | None:
    """The integer that pixels are divided by; ``None``: they are multiplied by ``scale``."""
    divisor = 1 / scale if scale else 0.5
    return divisor if divisor.is_integer() else None


def channel_values(values: tuple[float, ...], channels: int, name: str) -> list[float]:
    """The mean or standard deviation of each channel."""
    return [_of_channel(values, channel, name) for channel in range(channels)]


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
