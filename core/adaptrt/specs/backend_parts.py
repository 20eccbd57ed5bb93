"""Optional parts of a backend. If a backend does not have one, nothing is assumed: its build options are rejected, for example."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from adaptrt.report import Report
    from adaptrt.specs.backends import Built
    from adaptrt.specs.build import BuildOptions
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.targets import Target


@runtime_checkable
class TakesOptions(Protocol):
    """A backend with build options. For any other backend, every build option is rejected."""

    @property
    def build_options(self) -> Collection[str]:
        """The fields of ``BuildOptions`` that it reads. If ``device`` and ``plugin_libs`` are among them, the file is also
        verified with them."""
        ...

    def check_options(self, options: BuildOptions, target: Target) -> None:
        """Raise a ``UsageError`` that names the option."""
        ...


@runtime_checkable
class NamesMachine(Protocol):
    """A backend that declares which machine properties its files depend on. Conversions with any other are not cached."""

    def machine(self, target: Target, options: BuildOptions) -> Mapping[str, str]:
        """Hardware and libraries by name, such as the GPU and its driver; empty where nothing can be built."""
        ...


@runtime_checkable
class KnowsIssues(Protocol):
    """A backend that known issues can refer to."""

    def issue_platform(self, target: Target, device: int = 0) -> dict[str, str]:
        """``product`` (as in known issues), installed ``version`` and compute ``capability``; empty values are not known."""
        ...


@runtime_checkable
class NamesSetup(Protocol):
    """A backend that says what ``adaptrt doctor`` checks for it. Otherwise only the reason of ``unavailable`` is shown."""

    @property
    def purpose(self) -> str:
        """What the backend is for, as an imperative: ``Build and run engines``."""
        ...

    @property
    def requirement(self) -> str:
        """The distribution, with its extra, that installs what the backend needs: ``adaptrt[trt]``."""
        ...


@runtime_checkable
class ReadsSpec(Protocol):
    """A backend that reads the spec of a file without opening it to run."""

    def read_spec(self, path: Path) -> ModelSpec | None:
        """The spec; ``None`` if adaptrt did not write the file."""
        ...


@runtime_checkable
class HasFiles(Protocol):
    """A backend whose model may be more than one file."""

    def files_of(self, path: Path) -> Sequence[Path]:
        """The file, then those without which it cannot be opened, such as its weights."""
        ...


@runtime_checkable
class ChecksShapes(Protocol):
    """A backend that rejects shapes that a graph does not support, before anything is built."""

    def check_shapes(self, spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        """Raise a ``ShapeError`` that names the input. ``inputs`` are the sizes of the graph's inputs; -1: dynamic."""
        ...


@runtime_checkable
class ChecksRuntime(Protocol):
    """A backend that can tell in advance that it cannot run here."""

    def check_runtime(self, *, builder: bool = False) -> None:
        """Raise a ``DependencyError`` if the runtime, or with ``builder`` the builder, is not installed."""
        ...


@runtime_checkable
class KeepsManifest(Protocol):
    """A backend with a manifest beside each of its files."""

    def built_of(self, path: Path) -> Built:
        """A built file, possibly from a plugin, with its additional files."""
        ...

    def complete_manifest(self, path: Path, onnx: str, float32: str, report: Report) -> None:
        """Add what only the conversion knows, if there is a manifest.

        ``onnx`` is the name of the file that this one was built from, ``float32`` that of the float32 graph.
        """
        ...


@runtime_checkable
class ReplaysGraphs(Protocol):
    """A backend that reads ``OpenOptions.cuda_graphs``."""

    @property
    def cuda_graphs(self) -> bool:
        """Whether repeated calls are replayed as CUDA graphs."""
        ...


@dataclass(frozen=True, kw_only=True)
class BuildOrigin:
    """What a file was built from: the name of the ONNX file (beside it, unless it was moved), and how."""

    onnx: str
    precision: str
    options: BuildOptions
    keep_fp32: tuple[str, ...] = ()


@runtime_checkable
class KnowsOrigin(Protocol):
    """A backend that records what its files were built from."""

    def origin_of(self, path: Path) -> BuildOrigin | None:
        """``None`` if nothing is recorded."""
        ...


@runtime_checkable
class ShowsLayers(Protocol):
    """A backend that records the layers of its files."""

    def layers_of(self, path: Path) -> Sequence[tuple[str, str]] | None:
        """Name and precision of each layer, empty where it is not shown; ``None`` if nothing is recorded.

        The names contain those of the nodes that a layer computes.
        """
        ...
