"""Where a converted model runs: the protocol of backends, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.specs.registry import Registry
from adaptrt.specs.runners import Runner

if TYPE_CHECKING:
    from adaptrt.specs.build import BuildOptions
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.precisions import Precision
    from adaptrt.specs.targets import Target


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How a backend computes in a precision.

    ``graph``: the ONNX graph itself has to hold it (casts or Q/DQ nodes); else the backend takes it as an option.
    ``unsupported`` is the reason why it cannot, and empty where it can.
    """

    graph: bool = False
    unsupported: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How a file is opened to run.

    ``device`` is ``cpu`` or ``cuda:0``; ``None``: the backend's default. ``libraries`` are shared libraries with custom
    operators or plugins: code, named by the user. ``allow_host_code``: the file may hold code for the host.
    ``optimize=False`` runs the graph node by node, as it stands.
    """

    device: str | None = None
    libraries: tuple[Path, ...] = ()
    allow_host_code: bool = False
    optimize: bool = True


@dataclass(frozen=True, kw_only=True)
class BackendRequest:
    """Everything that a backend builds from.

    ``onnx_path`` has the precision in its graph where ``Backend.express`` says so. ``output`` is the file to write; what
    belongs beside it is derived from its name. ``progress(done, total, text)``, ``warn(text)`` and ``detail(text)`` report
    while the build runs. ``configure`` is ``module:function`` with its argument, called in the build process.
    """

    onnx_path: Path
    output: Path
    spec: ModelSpec
    precision: Precision
    target: Target
    keep_fp32: tuple[str, ...] = ()
    options: BuildOptions
    cache: bool = True
    command: str = ""
    configure: tuple[str, str | None] | None = None
    verbose: int = 0
    progress: Callable[[int, int, str], None] = field(default=lambda *_: None)
    warn: Callable[[str], None] = field(default=lambda _: None)
    detail: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A file that a backend built. ``files`` maps a suffix to each file that belongs to it, the first the one to open.

    ``record`` goes into the report as data; ``notes`` are sentences for it.
    """

    files: Mapping[str, Path]
    record: Any = None
    summary: str = ""
    notes: Sequence[str] = ()


@runtime_checkable
class Backend(Protocol):
    """Builds and runs converted models. Found by name under the entry-point group ``adaptrt.backends``.

    ``suffixes`` of the files it opens, its own first: the longest suffix that fits a file decides. ``targets``: what a
    graph can be made for, by name.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    targets: Mapping[str, Target]

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        """Why nothing can be built here; ``None`` if it can."""
        ...

    def express(self, precision: Precision, target: Target) -> Expression:
        """How this backend computes in a precision."""
        ...

    def build(self, request: BackendRequest) -> Built:
        """Build the file; a ``BuildError`` leaves none behind."""
        ...

    def open(self, path: Path, options: OpenOptions) -> Runner:
        """A runner; a ``DependencyError`` where it cannot run here."""
        ...

    def describe(self, path: Path) -> dict[str, Any]:
        """What ``inspect`` shows, as data."""
        ...


BACKENDS: Registry[Backend] = Registry("adaptrt.backends", "backend", Backend)
