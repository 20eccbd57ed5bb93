"""Whether the arrays of a prediction have the shapes and values that everything else relies on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec

NUMBERS, INTEGERS = "fiu", "iu"  # kinds of data types, as numpy abbreviates them
_NAMES = {NUMBERS: "numbers", INTEGERS: "integers"}


def malformed_array(name: str, array: Any, shape: Sequence[int | None], kinds: str = NUMBERS) -> str | None:
    """Why this is not a finite array of this shape (``None``: any length) and kind; ``None`` if it is."""
    wanted = f"{name} must be an array of {_NAMES[kinds]}, [{', '.join('N' if side is None else str(side) for side in shape)}]"
    if not isinstance(array, np.ndarray):
        return f"{wanted}; got {type(array).__name__}"
    fits = array.ndim == len(shape) and all(
        side in (None, found) for side, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in kinds:
        return f"{wanted}; got {array.dtype} {list(array.shape)}"
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return f"{name} must be finite; got NaN or infinity"
    return None


def malformed_labels(labels: NDArray[Any], spec: ModelSpec) -> str | None:
    """Why these are not classes of the spec; ``None`` if they are. A spec without labels has any number of classes."""
    if not labels.size:
        return None
    low, high = int(labels.min()), int(labels.max())
    if low >= 0 and (not spec.labels or high < len(spec.labels)):
        return None
    most = f"{len(spec.labels) - 1}, the classes of the spec" if spec.labels else "the number of classes"
    return f"labels must be from 0 to {most}; got {low} to {high}"
