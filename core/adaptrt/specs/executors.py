"""Where ``adaptrt predict`` runs a model over many images: the protocol of executors, and how they are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.errors import PluginError
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.backends import OpenOptions
from adaptrt.specs.image_files import ImageFile
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

    @property
    def open_options(self) -> OpenOptions:
        """How the file is opened."""
        return OpenOptions(
            device=self.device,
            custom_ops=tuple(map(Path, self.custom_ops)),
            plugin_libs=tuple(map(Path, self.plugin_libs)),
            allow_host_code=self.allow_host_code,
            threads=self.threads,
        )

    @property
    def plugins_path(self) -> Path | None:
        return None if self.plugins_file is None else Path(self.plugins_file)


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """What was found in one image.

    ``task``: the name of the model's task. ``size``: height and width, pixels. ``pixels``: uint8 [H, W, 3] RGB, to draw on; ``None`` from an executor that does
    not return images: they are then read again. An image that could not be read has an ``error`` and nothing else.
    """

    path: ImageFile
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

    def run(self, model: Path, sources: Sequence[ImageFile], options: ExecutorOptions) -> Iterator[ImageResult]:
        """Yield a result for each image, in any order, as soon as it is available; the iterator may be closed early.

        ``adaptrt.sources.images.ImageSource`` reads images of both kinds.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Command:
    """A program to run: ``words``, the first one the program; files for its standard ``output`` and for its ``log`` (standard error),
    which is replaced unless ``append``."""

    name: str
    words: tuple[str, ...]
    output: Path
    log: Path
    append: bool = False


@dataclass(frozen=True, kw_only=True)
class CommandLimits:
    """``jobs``: commands at a time. ``memory``: bytes that each one may need; another one starts only if so much is available.
    ``gpus``: indices of GPUs of this machine, one for each command at a time; empty: each command sees all of them."""

    jobs: int = 1
    memory: int = 0
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class CommandResult:
    """``code``: the exit code of the command; negative if a signal ended it."""

    name: str
    code: int
    seconds: float


@runtime_checkable
class RunsCommands(Protocol):
    """What ``adaptrt sweep`` needs of an executor; those that run images only do not have it."""

    def run_commands(self, commands: Sequence[Command], limits: CommandLimits, own: Any) -> Iterator[CommandResult]:
        """Yield the result of each command when it has ended, in any order; closing the iterator ends those that run.

        ``own``: an instance of the executor's ``options``, or ``None``.
        """
        ...


def command_results(
    executor: RunsCommands, commands: Sequence[Command], limits: CommandLimits, own: Any
) -> Generator[CommandResult, None, None]:
    """``run_commands``, with a ``PluginError`` at the end if a command has no result."""
    left = {command.name for command in commands}
    results: Any = executor.run_commands(commands, limits, own)
    with closing(results):
        for result in results:
            left.discard(result.name)
            yield result
    if left:
        raise no_result(executor, len(left), "commands", hint="Run the same command again: those that ended are kept.")


def image_results(
    executor: Executor, model: Path, sources: Sequence[ImageFile], options: ExecutorOptions
) -> Generator[ImageResult, None, None]:
    """``Executor.run``, with a ``PluginError`` for what is not the result of one of the images."""
    left = Counter(sources)
    results: Any = executor.run(model, sources, options)
    if not isinstance(results, Iterator):
        raise _wrong_result(executor, "return an iterator of ImageResult", results)
    with closing(results) if isinstance(results, Generator) else nullcontext():
        for result in results:
            if not isinstance(result, ImageResult):
                raise _wrong_result(executor, "yield an ImageResult for each image", result)
            if not left[result.path]:
                raise _wrong_result(executor, "yield each path that it was given once", result.path)
            if result.error is None and result.prediction is None:
                raise _wrong_result(executor, "yield results with a prediction or an error", result)
            left[result.path] -= 1
            yield result


def _wrong_result(executor: Executor, wanted: str, found: object) -> PluginError:
    source = f" ({EXECUTORS.distribution(executor.name)})" if executor.name in EXECUTORS else ""
    given = "nothing" if found is None else f"{type(found).__name__} {str(found)!r:.60}"
    return PluginError(
        f"The executor {executor.name!r}{source} must {wanted}; got {given}.",
        hint="See adaptrt.specs.executors.ImageResult.",
    )


def no_result(executor: Executor | RunsCommands, count: int, what: str, *, hint: str) -> PluginError:
    """An executor's iterator ended early."""
    name = getattr(executor, "name", type(executor).__name__)
    return PluginError(f"The executor {name!r} returned no result for {count} {what}.", hint=hint)


EXECUTORS: Registry[Executor] = Registry("adaptrt.executors", "executor", Executor, core_first=True)
