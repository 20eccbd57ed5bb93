"""Masks in reports: run lengths of each mask's own bitmap, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError
from adaptrt.predictions import Mask, Segments
from adaptrt.tasks.segment.rle import bitmap_from, compress, decompress, run_lengths

if TYPE_CHECKING:
    from adaptrt.predictions import Detections

MAX_PIXELS = 1 << 27  # of the masks of one record, and of the image they lie in


def record_masks(prediction: Segments) -> dict[str, Any]:
    masks = []
    for mask in prediction.masks:
        height, width = mask.bitmap.shape
        counts = run_lengths(Mask(mask.bitmap, 0, 0), (height, width))
        masks.append({"left": mask.left, "top": mask.top, "height": height, "width": width, "counts": compress(counts)})
    return {"size": list(prediction.size), "masks": masks}


def segments_from(record: Mapping[str, Any], found: Detections) -> Segments:
    """The masks of a record, which is untrusted input; raises a ``ModelError`` if they do not match these boxes."""
    size, rows = record.get("size"), record.get("masks")
    if not _are_counts(size, 2) or size[0] * size[1] > MAX_PIXELS:  # type: ignore[index]
        raise ModelError("'size' of a recorded prediction must be height and width of an image.")
    if not isinstance(rows, list) or len(rows) != len(found):
        raise ModelError(f"A record with {len(found)} boxes does not have a mask for each of them.")
    masks, pixels = [], 0
    for row in rows:
        numbers = [row.get(key) for key in ("left", "top", "height", "width")] if isinstance(row, dict) else []
        if not _are_counts(numbers, 4) or not isinstance(row.get("counts"), str):
            raise ModelError("A recorded mask must have left, top, height, width and counts.")
        left, top, height, width = (int(number) for number in numbers)  # type: ignore[arg-type]
        pixels += height * width
        if pixels > MAX_PIXELS or left + width > size[1] or top + height > size[0]:  # type: ignore[index]
            raise ModelError("A recorded mask extends beyond its image.")
        counts = decompress(row["counts"])
        masks.append(Mask(bitmap_from(counts, (height, width)), left, top))
    return Segments(
        found.boxes,
        found.scores,
        found.labels,
        found.names,
        tuple(masks),
        (int(size[0]), int(size[1])),  # type: ignore[index]
    )


def _are_counts(values: Any, count: int) -> bool:
    return (
        isinstance(values, (list, tuple))
        and len(values) == count
        and all(type(value) is int and 0 <= value < 1 << 31 for value in values)
    )
