"""Where images lie in the input and in the memory of a batch: computed once for each size of images."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.ways import FastestWay, lower_median
from adaptrt.specs import ImageTransform
from adaptrt.vision.placement import Placement, place
from adaptrt.vision.taps import taps_of

if TYPE_CHECKING:
    from adaptrt.backends.tensorrt.runtime.contexts import ShapePlan
    from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch

IMAGE = ("pixels", "relative", "pitch", "top", "left", "height", "width", "taps", "rows", "columns")
"""The numbers of an image, int64 each, as the kernel reads them."""
RECORD = struct.Struct(f"={len(IMAGE)}q")
ALIGNED = 256
_COPIED = 4  # an image in pageable memory whose used rows have more than this many times the pixels of the result is always resized
_SPARSE = 0.75  # of the rows of an image in page-locked memory: with fewer, only they are sent
_SIZES = 256  # of images, whose places and taps are kept: up to 20 KB each at 640 x 640


class ImageForm(NamedTuple):
    """What a batch of images has in common: the transform, height, width and channels of the input, and rows."""

    transform: ImageTransform
    height: int
    width: int
    channels: int
    rows: int


class Layout:
    """Offsets in the memory of a batch: a record for each image, limits of scores and overlaps, tables of taps (the head), then pixels. Sizes in bytes."""

    def __init__(self, form: ImageForm) -> None:
        self.limits = form.rows * RECORD.size
        self.identity = self.limits + 16
        self.taps = self.identity + 8 * max(form.height, form.width)
        self.taps_each = 16 * (form.height + form.width)
        self.head = -(-(self.taps + form.rows * self.taps_each) // ALIGNED) * ALIGNED
        self.pixels_each = form.height * form.width * form.channels


class RowGroups(NamedTuple):
    """Rows of an image: ``run`` neighbors, then again after ``step`` rows, from row ``first`` on; ``times`` times."""

    first: int
    run: int
    step: int
    times: int


class Placed(NamedTuple):
    """Where images of one size lie in the input.

    ``taps``: the bytes of the tables for rows and columns if the kernel resizes. ``record``: the fields of IMAGE but addresses.
    ``first``: bytes from the start of the image to its first pixel that is used. ``used``: the rows that have a weight, of which
    ``packed`` are the tables and ``left`` what is ``first``. ``ways``: what happens to an image in pageable memory; without it, the CPU
    resizes it. ``groups``: whether the bus carries only them from page-locked memory, and how they lie there.
    """

    placement: Placement
    taps: NDArray[np.uint8] | None
    record: tuple[int, ...]
    first: int = 0
    rows_bytes: int = 0
    used: NDArray[np.intp] | None = None
    packed: NDArray[np.uint8] | None = None
    left: int = 0
    ways: FastestWay | None = None
    groups: RowGroups | None = None


class Prepared:
    """What batches of one form share: the layout, the table that copies, and the sizes of images seen lately."""

    def __init__(self, form: ImageForm) -> None:
        self.form, self.layout = form, Layout(form)
        longest = max(form.height, form.width)
        identity = np.empty((longest, 2), np.int32)
        identity[:, 0], identity[:, 1] = np.arange(longest), 1
        self.identity = identity.reshape(-1).view(np.uint8)
        self.plan: ShapePlan | None = None
        """That of the engine's input, once it ran."""
        self.idle: list[ImageBatch] = []
        """Batches whose memory can be used again."""
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
        used = used + top
        return placed._replace(
            used=used,
            packed=_tables(packed, beside),
            left=left * form.channels,
            ways=_ways(form.rows) if len(used) * size[1] <= _COPIED * height * width else None,
            groups=_groups(used) if len(used) < _SPARSE * size[0] else None,
        )


def _ways(rows: int) -> FastestWay:
    """The driver's copy waits for the stream and lets no other thread help: it is for a call with one image.

    The tries of a single image show what a way takes, but OpenCV's threads and the driver make some of them fast by chance.
    In a batch, threads that wait for the interpreter lock, for up to 5 ms, make tries slow; and to resize takes much of
    Python's time, which they do not show.
    """
    if rows == 1:
        return FastestWay(["copy", "resize", "send"], typical=lower_median)
    return FastestWay(["copy", "resize"], handicap=2)


def _tables(rows: NDArray[np.int32], columns: NDArray[np.int32]) -> NDArray[np.uint8]:
    return np.concatenate([rows.reshape(-1), columns.reshape(-1)]).view(np.uint8)


def _used_rows(taps: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """The rows with a weight, ascending, and the table for an image that consists of them."""
    places, weights = taps[..., 0], taps[..., 1]
    used = np.unique(places[weights != 0])
    packed = taps.copy()
    packed[..., 0] = np.searchsorted(used, places).clip(0, len(used) - 1)  # without a weight, any row will do
    return used.astype(np.intp), packed


def _groups(used: NDArray[np.intp]) -> RowGroups | None:
    """How rows lie, if a single copy can take them."""
    jumps = np.flatnonzero(np.diff(used) > 1)
    run = int(jumps[0]) + 1 if len(jumps) else len(used)
    if len(used) % run:
        return None
    starts = used[::run]
    step = int(starts[1] - starts[0]) if len(starts) > 1 else run
    expected = (starts[0] + step * np.arange(len(starts)))[:, None] + np.arange(run)
    if not np.array_equal(expected.reshape(-1), used):
        return None
    return RowGroups(int(starts[0]), run, step, len(starts))
