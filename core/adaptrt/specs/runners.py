"""The interface of all model runners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.model import ModelSpec


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a runnable model; ``shape`` has numbers, and names or ``None`` for symbolic axes."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


class Runner(Protocol):
    """Runs a model on arrays; ``backend`` names the implementation in reports."""

    backend: str

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name, in the order of the file; the arrays belong to the caller."""
        ...

    def close(self) -> None: ...


class FileRunner(Runner, Protocol):
    """A runner of a file that a backend opened."""

    @property
    def spec(self) -> ModelSpec | None:
        """The spec stored with the file; ``None`` if adaptrt did not write it."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """Warnings about running the file on this machine."""
        ...


@runtime_checkable
class AllocatesInputs(Protocol):
    """A runner with memory of its own for inputs, such as page-locked memory: arrays in it are not copied on the host.

    A runner may also have ``concurrent_calls``, how many calls of ``run`` should overlap; the default is 1.
    """

    def input_array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An uninitialized array, which may be reused for another call as soon as ``run`` has returned."""
        ...


@runtime_checkable
class TimesLayers(Protocol):
    """A runner that measures the layers of its file."""

    def layer_times(self, inputs: Mapping[str, NDArray[Any]], runs: int) -> dict[str, float]:
        """Mean seconds of each layer over ``runs``, by name. The names contain those of the nodes that a layer computes."""
        ...
