"""The task ``values``: arrays whose semantics are unknown."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.predictions import Values
from adaptrt.quantities import digits
from adaptrt.specs.tasks import Found, Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec


_IN_A_LINE = 8  # values of an array
_IN_JSON = 1000


class RawValues(Task[Values]):
    """Output arrays by name, which are not drawn, compared or scored."""

    name = "values"
    prediction = Values
    formats = ("npz", "json")

    def describe(self, prediction: Values) -> str:
        """The values of short vectors, such as the outputs of a regression; the shapes of other arrays."""
        return ", ".join(f"{name} {_in_a_line(array)}" for name, array in prediction.arrays.items())

    def data(self, prediction: Values) -> dict[str, Any]:
        described = self.record(prediction)
        for name, array in prediction.arrays.items():
            if array.size <= _IN_JSON:
                described[name]["data"] = array.tolist()
        return {"values": described}

    def row(self, prediction: Values) -> dict[str, Any]:
        """The arrays as nested lists."""
        return {"values": {name: array.tolist() for name, array in prediction.arrays.items()}}

    def malformed(self, prediction: Values, spec: ModelSpec, size: tuple[int, int] | None = None) -> str | None:
        arrays = prediction.arrays
        if not isinstance(arrays, Mapping):
            return f"arrays must be a mapping from names to arrays; got {type(arrays).__name__}"
        wrong = next((name for name, array in arrays.items() if not isinstance(array, np.ndarray)), None)
        return None if wrong is None else f"{wrong} must be an array; got {type(arrays[wrong]).__name__}"

    def record(self, prediction: Values) -> dict[str, Any]:
        """Shapes and types only: the arrays are too large for a report."""
        return {
            name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in prediction.arrays.items()
        }

    def read_record(self, record: Mapping[str, Any]) -> None:
        return None

    def export(self, format: str, found: Sequence[Found[Values]]) -> Iterator[tuple[str, bytes]]:  # noqa: A002
        if format != "npz":
            yield from super().export(format, found)
            return
        for one in found:
            file = io.BytesIO()
            np.savez(file, **dict(one.prediction.arrays))  # type: ignore[arg-type]
            yield f"{one.name}.npz", file.getvalue()


def _in_a_line(array: NDArray[Any]) -> str:
    if array.ndim > 1 or array.size > _IN_A_LINE or array.dtype.kind not in "fiub":
        return str(array.shape)
    shown = ", ".join(digits(float(value)) for value in array.flat)
    return f"[{shown}]" if array.ndim else shown


TASK = RawValues()
