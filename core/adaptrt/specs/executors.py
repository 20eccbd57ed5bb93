"""Where ``adaptrt predict`` runs a model over many images: the protocol of executors, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.specs.adoption import Adoption
from adaptrt.specs.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.errors import ImageError
    from adaptrt.pipeline.batches import Timing


def _ignore(text: str) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ExecutorOptions:
    """How the model is opened and run: the arguments of ``adaptrt.load`` and of a call of the model.

    ``params`` are parameters of the decoder as text, ``own`` an instance of the executor's ``options`` (``None`` if
    it has none). ``adoption``: the user's description of a file that adaptrt did not write. ``threads`` limits the CPU threads of
    each copy of the model. ``warn`` receives warnings for the user.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    custom_ops: tuple[str, ...] = ()
    allow_host_code: bool = False
    plugin_libs: tuple[str, ...] = ()
    plugins_file: str | None = None
    adoption: Adoption | None = None
    threads: int | None = None
    own: Any = None
    warn: Callable[[str], None] = _ignore


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What was found in one image.

    ``task``: the name of the model's task. ``size``: height and width, pixels. ``pixels``: uint8 [H, W, 3] RGB, to draw on; ``None`` from an executor that does
    not return images: they are then read again. An image that could not be read has an ``error`` and nothing else.
    """

    path: Path
    task: str = "values"
    size: tuple[int, int] = (0, 0)
    prediction: Any = None
    timing: Timing | None = None
    pixels: NDArray[np.uint8] | None = None
    error: ImageError | None = None


@runtime_checkable
class Executor(Protocol):
    """Runs a model over many images; found by name under the entry-point group ``adaptrt.executors``.

    ``options`` is a frozen dataclass that ``--executor-set KEY=VALUE`` fills, or ``None``. Everything heavy is imported
    inside ``run``.
    """

    name: str
    summary: str
    options: type[Any] | None

    def run(self, model: Path, sources: Sequence[Path], options: ExecutorOptions) -> Iterator[ImageResult]:
        """Yield a result for each image, in any order, as soon as it is available; the iterator may be closed early."""
        ...


EXECUTORS: Registry[Executor] = Registry("adaptrt.executors", "executor", Executor, core_first=True)
