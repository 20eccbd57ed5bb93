"""Class maps as JSON data, with compressed labels, since a map has one label per pixel."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from adaptrt.errors import ModelError
from adaptrt.predictions import SemanticMap
from adaptrt.tasks.records import array_of, names_of

MAX_PIXELS = 1 << 27  # maximum size of a map that is read
_DTYPES = {"uint8": np.uint8, "int32": np.int32}


def record_map(prediction: SemanticMap) -> dict[str, Any]:
    """``labels``: rows from the top, little-endian, zlib and base64. ``areas``: pixels by class, for readers."""
    labels = np.ascontiguousarray(prediction.labels)
    record = {
        "height": labels.shape[0],
        "width": labels.shape[1],
        "dtype": str(labels.dtype),
        "labels": base64.b64encode(zlib.compress(labels.astype(labels.dtype.newbyteorder("<")).tobytes())).decode(),
        "names": prediction.names,
        "areas": {prediction.name(label): pixels for label, pixels in prediction.areas().items()},
    }
    if prediction.scores is not None:
        record["scores"] = [round(float(score), 6) for score in prediction.scores]
    return record


def map_from_record(record: Mapping[str, Any]) -> SemanticMap:
    size = (record.get("height"), record.get("width"))
    dtype, text = _DTYPES.get(str(record.get("dtype"))), record.get("labels")
    if dtype is None or not isinstance(text, str) or not all(type(side) is int and side > 0 for side in size):
        raise ModelError("A recorded class map must have height, width, dtype (uint8 or int32) and labels.")
    height, width = int(size[0] or 0), int(size[1] or 0)
    if height * width > MAX_PIXELS:
        raise ModelError(f"A recorded class map of {height} x {width} pixels is too large.")
    expected = height * width * np.dtype(dtype).itemsize
    try:  # at most one byte more than expected, to reject decompression bombs
        raw = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), expected + 1)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ModelError(f"The labels of a recorded class map cannot be read: {error}.") from error
    if len(raw) != expected:
        raise ModelError(f"A recorded class map of {height} x {width} pixels does not have one label per pixel.")
    labels = np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(height, width)
    if labels.min() < 0:
        raise ModelError("A recorded class map contains negative labels.")
    scores = array_of(record, "scores", np.float32) if "scores" in record else None
    return SemanticMap(labels, names_of(record), scores)
