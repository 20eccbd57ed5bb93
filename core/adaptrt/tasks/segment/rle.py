"""COCO's run lengths: the pixels of a mask, column by column, as lengths of background and object in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import Mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def run_lengths(mask: Mask, size: tuple[int, int]) -> list[int]:
    """Of the whole image of ``size`` (height, width), without making it."""
    height, width = size
    bitmap, top, left = _inside(mask, size)
    padded = np.zeros((bitmap.shape[0] + 2, bitmap.shape[1]), np.int8)
    padded[1:-1] = bitmap
    steps = np.diff(padded, axis=0).T  # by column: 1 where a run starts, -1 behind its end
    starts, ends = (np.argwhere(steps == sign) for sign in (1, -1))
    begin = (starts[:, 0] + left) * height + starts[:, 1] + top
    end = (ends[:, 0] + left) * height + ends[:, 1] + top
    separate = np.ones(len(begin), np.bool_)
    separate[1:] = begin[1:] != end[:-1]  # a run that reaches the bottom goes on in the next column
    last = np.append(separate[1:], True) if len(begin) else separate
    edges = np.stack((begin[separate], end[last]), 1).ravel()
    counts = np.diff(np.concatenate(([0], edges, [height * width])))
    return [int(count) for count in (counts if counts[-1] or len(counts) == 1 else counts[:-1])]


def _inside(mask: Mask, size: tuple[int, int]) -> tuple[NDArray[np.bool_], int, int]:
    """The part of a mask that lies in the image."""
    height, width = size
    top, left = max(mask.top, 0), max(mask.left, 0)
    bitmap = mask.bitmap[top - mask.top : height - mask.top, left - mask.left : width - mask.left]
    return bitmap, top, left


def bitmap_from(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]; a ``ModelError`` if the lengths do not fill the image."""
    lengths = np.asarray(counts, np.int64)
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != size[0] * size[1]:
        raise ModelError(f"The run lengths of a mask do not fill {size[0]} x {size[1]} pixels.")
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    bitmap: NDArray[np.bool_] = flat.reshape(size[1], size[0]).T
    return bitmap


def compress(counts: Sequence[int]) -> str:
    """COCO's text form: differences to the second-last length, five bits a character."""
    text = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            text.append(chr((bits | 0x20 if more else bits) + 48))
    return "".join(text)


def decompress(text: str) -> list[int]:
    """The inverse of ``compress``; a ``ModelError`` if the text is invalid."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ModelError("The run lengths of a mask cannot be read.")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift or any(count < 0 for count in counts):
        raise ModelError("The run lengths of a mask cannot be read.")
    return counts


def coco_mask(mask: Mask, size: tuple[int, int]) -> dict[str, object]:
    """``{"size": [H, W], "counts": text}``."""
    return {"size": list(size), "counts": compress(run_lengths(mask, size))}
