"""Where images lie in the input and in the memory of a batch: computed once for each size of images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.specs import ImageTransform
from adaptrt.vision.placement import Placement, place
from adaptrt.vision.taps import taps_of

IMAGE = np.dtype([(name, np.int64) for name in ("pixels", "relative", "pitch", "top", "left", "height", "width", "taps", "rows", "columns")])  # fmt: skip
ALIGNED = 256
_COPIED = 4  # an image in pageable memory whose used rows have at most this many times the pixels of the result is copied, not resized
_SIZES = 256  # of images, whose places and taps are kept: up to 20 KB each at 640 x 640


class ImageForm(NamedTuple):
    """What a batch of images has in common: the transform, height, width and channels of the input, and rows."""

    transform: ImageTransform
    height: int
    width: int
    channels: int
    rows: int


class Layout:
    """Offsets in the memory of a batch: a record for each image, a limit of scores, tables of taps, then pixels. Sizes in bytes."""

    def __init__(self, form: ImageForm) -> None:
        self.limit = form.rows * IMAGE.itemsize
        self.identity = self.limit + 8
        self.taps = self.identity + 8 * max(form.height, form.width)
        self.taps_each = 16 * (form.height + form.width)
        self.head = -(-(self.taps + form.rows * self.taps_each) // ALIGNED) * ALIGNED
        self.pixels_each = form.height * form.width * form.channels
        self.size = self.head + form.rows * self.pixels_each

    def pixels(self, index: int) -> int:
        return self.head + index * self.pixels_each


class Placed(NamedTuple):
    """Where images of one size lie in the input.

    ``taps``: the bytes of the tables for rows and columns if the kernel resizes. ``record``: the fields of IMAGE but addresses.
    ``first``: bytes from the start of the image to its first pixel that is used. ``used``: the rows that have a weight, of which
    ``packed`` are the tables and ``left`` what is ``first``; ``None`` if the CPU resizes images in pageable memory.
    """

    placement: Placement
    taps: NDArray[np.uint8] | None
    record: tuple[int, ...]
    first: int = 0
    rows_bytes: int = 0
    used: NDArray[np.intp] | None = None
    packed: NDArray[np.uint8] | None = None
    left: int = 0


class Prepared:
    """What batches of one form share: the layout, the table that copies, and the sizes of images seen lately."""

    def __init__(self, form: ImageForm) -> None:
        self.form, self.layout = form, Layout(form)
        longest = max(form.height, form.width)
        identity = np.empty((longest, 2), np.int32)
        identity[:, 0], identity[:, 1] = np.arange(longest), 1
        self.identity = identity.reshape(-1).view(np.uint8)
        self._sizes: dict[tuple[int, int], Placed] = {}

    def placed(self, size: tuple[int, int]) -> Placed:
        """For images of a size (height, width)."""
        found = self._sizes.get(size)
        if found is None:
            found = self._place(size)
            if len(self._sizes) >= _SIZES:
                self._sizes.clear()
            self._sizes[size] = found
        return found

    def _place(self, size: tuple[int, int]) -> Placed:
        form = self.form
        placement = place(size, form.transform, (form.height, form.width))
        (rows, columns), (down, right) = placement.covered, placement.offset
        height, width = rows.stop - rows.start, columns.stop - columns.start
        taps = taps_of(form.transform, placement.source[2:], placement.inner, form.channels)
        if taps is None:
            return Placed(placement, None, (rows.start, columns.start, height, width, 1))
        above = taps.rows[rows.start - down : rows.stop - down]
        beside = taps.columns[columns.start - right : columns.stop - right]
        top, left = placement.source[:2]
        placed = Placed(
            placement,
            _tables(above, beside),
            (rows.start, columns.start, height, width, taps.rows.shape[1]),
            (top * size[1] + left) * form.channels,
            above.nbytes,
        )
        used, packed = _used_rows(above)
        if len(used) * size[1] > _COPIED * height * width:
            return placed
        return placed._replace(used=used + top, packed=_tables(packed, beside), left=left * form.channels)


def _tables(rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.concatenate([rows.reshape(-1), columns.reshape(-1)]).view(np.uint8)


def _used_rows(taps: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The rows with a weight, ascending, and the table for an image that consists of them."""
    places, weights = taps[..., 0], taps[..., 1]
    used = np.unique(places[weights != 0])
    packed = taps.copy()
    packed[..., 0] = np.searchsorted(used, places).clip(0, len(used) - 1)  # without a weight, any row will do
    return used.astype(np.intp), packed
