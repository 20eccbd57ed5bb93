"""An image on the way to the device, before it is known in which batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.ways import Trial

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.images import DeviceImages
    from adaptrt.backends.tensorrt.runtime.placed_images import Placed, Prepared


class HostImage(NamedTuple):
    """An image of a size (height, width): its used rows, or its ``resized`` pixels, in page-locked memory."""

    size: tuple[int, int]
    pixels: NDArray[np.uint8]
    resized: bool


def host_image(owner: DeviceImages, prepared: Prepared, image: Any) -> Any:
    """Read, copy or resize an image, anything that ``read_image`` takes; an array in page-locked memory stays as it is."""
    from adaptrt.vision.images import read_image

    pixels = read_image(image, prepared.form.channels)
    placed = prepared.placed(pixels.shape[:2])
    by_kernel = owner.resizes and placed.taps is not None and pixels.flags.c_contiguous
    if by_kernel and owner.is_page_locked(pixels):
        return pixels
    way, tried = placed.ahead.next() if by_kernel and placed.ahead is not None else ("resize", False)
    found = _copied(owner, placed, pixels) if way == "copy" else _resized(owner, prepared, placed, pixels)
    if placed.ahead is None or not tried:
        found[1]()
    else:
        trial = Trial(placed.ahead, way)
        trial.timed(found[1])
        trial.report(1)
    return HostImage(pixels.shape[:2], found[0], way != "copy")


def _copied(owner: DeviceImages, placed: Placed, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Any]:
    """Memory for the rows, and what writes them, in one call that releases the interpreter lock."""
    assert placed.used is not None
    rows = pixels.reshape(len(pixels), -1)
    copy = owner.page_locked(len(placed.used) * rows.shape[1]).reshape(len(placed.used), -1)
    if len(placed.used) == len(rows):
        return copy, partial(np.copyto, copy, rows)
    return copy, partial(rows.take, placed.used, 0, copy, "clip")


def _resized(
    owner: DeviceImages, prepared: Prepared, placed: Placed, pixels: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], Any]:
    from adaptrt.vision.transforms import write_visible

    _, _, height, width, _ = placed.record
    out = owner.page_locked(height * width * prepared.form.channels).reshape(height, width, -1)
    return out, partial(write_visible, pixels, placed.placement, prepared.form.transform, out)
