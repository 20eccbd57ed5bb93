"""Resizing as OpenCV, Pillow or torch do it: they differ by more than rounding, so a spec specifies the library."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import DependencyError
from adaptrt.vision.opencv import cv2

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.image import Interpolation, Library
    from adaptrt.vision.images import ImageArray

_CV2 = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_PIL = {"nearest": "NEAREST", "linear": "BILINEAR", "cubic": "BICUBIC", "area": "BOX"}


def resize(image: ImageArray, size: tuple[int, int], interpolation: Interpolation, library: Library) -> ImageArray:
    """uint8 [H, W, C] to uint8 [h, w, C] for ``size`` (h, w); the same array if it has that size already."""
    if image.shape[:2] == size:
        return image
    if library == "pil":
        if image.shape[2] == 3:
            return _resize_pil(image, size, interpolation)
        bands = [_resize_pil(image[..., band], size, interpolation) for band in range(image.shape[2])]
        return np.stack(bands, axis=2)
    resized: ImageArray = cv2.resize(image, size[::-1], interpolation=_CV2[interpolation])
    return resized[..., None] if resized.ndim == 2 else resized  # OpenCV drops an axis of one channel


def resize_in_float(image: ImageArray, size: tuple[int, int], interpolation: Interpolation) -> NDArray[np.float32]:
    """uint8 [H, W, C] to float32 [h, w, C], not rounded, as ``torch.nn.functional.interpolate`` without antialiasing.

    OpenCV takes the same weights, in float32, for ``nearest``, ``linear`` and ``cubic``.
    """
    values = image.astype(np.float32)
    if image.shape[:2] == size:
        return values
    resized: NDArray[np.float32] = cv2.resize(values, size[::-1], interpolation=_CV2[interpolation])
    return resized[..., None] if resized.ndim == 2 else resized


def resize_into(image: ImageArray, interpolation: Interpolation, out: ImageArray) -> None:
    """Resize uint8 [H, W, C] with OpenCV to the size of ``out``, uint8 [h, w, C] and C-contiguous, and write it there."""
    if image.shape == out.shape:
        np.copyto(out, image)
        return
    target = out[..., 0] if out.shape[2] == 1 else out
    found = cv2.resize(image, (out.shape[1], out.shape[0]), dst=target, interpolation=_CV2[interpolation])
    if found is not target:  # OpenCV takes other memory if the result does not fit
        np.copyto(target, found)


def _resize_pil(image: ImageArray, size: tuple[int, int], interpolation: Interpolation) -> ImageArray:
    try:
        from PIL import Image
    except ImportError as error:
        raise DependencyError(
            "This model's images are resized with Pillow, which is not installed.", hint="pip install pillow"
        ) from error
    resample = Image.Resampling[_PIL[interpolation]]
    return np.asarray(Image.fromarray(image).resize(size[::-1], resample))
