"""Where the pixels of an image lie in the input of a network: sizes and offsets, rounded as the frameworks do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.errors import ShapeError
from adaptrt.predictions import ImageMeta

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptrt.specs.image import ImageTransform

Size = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """The part ``source`` of the image (top, left, height, width) is resized to ``inner``; its first pixel lies at ``offset`` (top,
    left) of the input, which has ``size``. A negative offset cuts, what is not covered is padding. All in pixels, height first.
    """

    source: tuple[int, int, int, int]
    inner: Size
    offset: Size
    size: Size
    meta: ImageMeta

    @property
    def covered(self) -> tuple[slice, slice]:
        """The rows and columns of the input that the image covers."""
        rows, columns = (
            slice(max(start, 0), min(start + used, outer))
            for start, used, outer in zip(self.offset, self.inner, self.size, strict=True)
        )
        return rows, columns

    @property
    def is_covered(self) -> bool:
        """Whether there is no padding."""
        return all(
            start <= 0 and start + used >= outer
            for start, used, outer in zip(self.offset, self.inner, self.size, strict=True)
        )


def place(original: Size, transform: ImageTransform, size: Size) -> Placement:
    """The placement of an image of the size ``original`` (height, width) in an input of ``size``."""
    return _PLACINGS[transform.resize](original, transform, size)


def _letterbox(original: Size, transform: ImageTransform, size: Size) -> Placement:
    """Keep the aspect ratio and pad the rest; sizes and offsets round as in ``ultralytics.data.augment.LetterBox``."""
    height, width = size
    ratio = min(height / original[0], width / original[1])
    inner = (max(round(original[0] * ratio), 1), max(round(original[1] * ratio), 1))
    top = left = 0
    if transform.center:
        top, left = (round((outer - used) / 2 - 0.1) for outer, used in zip(size, inner, strict=True))
    return _whole(original, inner, (top, left), size)


def _stretch(original: Size, transform: ImageTransform, size: Size) -> Placement:  # noqa: ARG001 - as the others
    return _whole(original, size, (0, 0), size)


def _crop(original: Size, transform: ImageTransform, size: Size) -> Placement:
    """Resize with the aspect ratio kept, then center-crop; sizes round as in ``timm.data.transforms_factory``, crop_mode center."""
    if not 0 < transform.crop_fraction <= 1:
        raise ShapeError(
            f"crop_fraction must be in (0, 1]; got {transform.crop_fraction}.", hint="For example: crop_fraction=0.875"
        )
    height, width = original
    wanted_h, wanted_w = (math.floor(side / transform.crop_fraction) for side in size)
    if wanted_h != wanted_w:  # timm's ResizeKeepRatio
        ratio = min(height / wanted_h, width / wanted_w)
        inner = (round(height / ratio), round(width / ratio))
    elif width <= height:  # torchvision's Resize
        inner = (int(wanted_w * height / width), wanted_w)
    else:
        inner = (wanted_h, int(wanted_h * width / height))
    top, left = (round((used - cut) / 2) for used, cut in zip(inner, size, strict=True))
    return _whole(original, inner, (-top, -left), size)


def _square(original: Size, transform: ImageTransform, size: Size) -> Placement:  # noqa: ARG001 - as the others
    """Cut the largest centered square and resize that, as ``CenterCrop`` of the classic YOLOv5 repository."""
    height, width = original
    side = min(original)
    top, left = (height - side) // 2, (width - side) // 2
    scale = (size[0] / side, size[1] / side)
    meta = ImageMeta(original_size=original, input_size=size, scale=scale, offset=(-top * scale[0], -left * scale[1]))
    return Placement((top, left, side, side), size, (0, 0), size, meta)


_PLACINGS: dict[str, Callable[[Size, ImageTransform, Size], Placement]] = {
    "letterbox": _letterbox,
    "stretch": _stretch,
    "crop": _crop,
    "square": _square,
}


def _whole(original: Size, inner: Size, offset: Size, size: Size) -> Placement:
    meta = ImageMeta(
        original_size=original,
        input_size=size,
        scale=(inner[0] / original[0], inner[1] / original[1]),
        offset=(float(offset[0]), float(offset[1])),
    )
    return Placement((0, 0, *original), inner, offset, size, meta)
