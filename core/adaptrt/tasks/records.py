"""Reads arrays from the records of a report, which is untrusted input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adaptrt.errors import ModelError


def array_of(record: Mapping[str, Any], key: str, dtype: DTypeLike, columns: int | None = None) -> NDArray[Any]:
    """[N] or [N, columns]; a ``ModelError`` if the record contains anything else."""
    try:
        with np.errstate(over="ignore"):
            array = np.asarray(record[key], dtype)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{key!r} of a recorded prediction cannot be read.") from error
    if not np.isfinite(array).all():
        raise ModelError(f"{key!r} of a recorded prediction contains a number that is too large.")
    shape = (len(array) if array.ndim else 0, *([columns] if columns else []))
    if array.size == 0:
        return array.reshape(0, *shape[1:])
    if array.shape != shape:
        raise ModelError(f"{key!r} of a recorded prediction has shape {list(array.shape)}.")
    return array


def names_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    names = record.get("names", [])
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise ModelError("'names' of a recorded prediction is not a list of text.")
    return tuple(names)
