"""Backends, which build and run converted models: their protocol, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.errors import PluginError, UsageError, did_you_mean
from adaptrt.specs.registry import Registry
from adaptrt.specs.runners import FileRunner

if TYPE_CHECKING:
    from adaptrt.report import Report
    from adaptrt.specs.build import BuildOptions
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.precisions import Precision
    from adaptrt.specs.targets import Target


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How a backend computes in a precision.

    ``graph``: the precision must be in the ONNX graph (casts or Q/DQ nodes); else it is a build option of the backend.
    ``unsupported`` is the reason why the backend does not support it; empty if it does.
    """

    graph: bool = False
    unsupported: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How a file is opened to run.

    ``device`` is ``cpu`` or ``cuda:0``; ``None``: the backend's default. ``libraries`` are shared libraries with custom
    operators or plugins: code, named by the user. ``allow_host_code``: the file may contain host code.
    ``optimize=False`` runs the graph node by node, without optimizations.
    """

    device: str | None = None
    libraries: tuple[Path, ...] = ()
    allow_host_code: bool = False
    optimize: bool = True


@dataclass(frozen=True, kw_only=True)
class BackendRequest:
    """The input of a backend's build.

    ``onnx_path`` has the precision in its graph if ``Backend.express`` requires it. ``output`` is the file to write; names
    of additional files are derived from it. ``progress(done, total, text)``, ``warn(text)`` and ``detail(text)`` report
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
    """A file that a backend built. ``files`` maps a suffix to each of its files; the first is the one to open.

    ``record`` goes into the report as data; ``notes`` are sentences for it.
    """

    files: Mapping[str, Path]
    record: Any = None
    summary: str = ""
    notes: Sequence[str] = ()


@runtime_checkable
class Backend(Protocol):
    """Builds and runs converted models. Found by name under the entry-point group ``adaptrt.backends``.

    The properties may be plain attributes; they are never set from outside.
    """

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str:
        """The name in messages."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of the files it opens, starting with that of the file it builds; the longest matching suffix decides."""
        ...

    @property
    def targets(self) -> Mapping[str, Target]:
        """The targets of its graphs by name, the default first; empty if it accepts any graph.

        A backend with a single target implies it: ``--to rtx`` needs no ``--target rtx``. Several backends build from one
        graph, made for the target of one that all of them read (``Target.reads_graph_of``).
        """
        ...

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        """The reason why nothing can be built here; ``None`` if building is possible."""
        ...

    def express(self, precision: Precision, target: Target) -> Expression:
        """How this backend computes in a precision."""
        ...

    def build(self, request: BackendRequest) -> Built:
        """Build the file; a ``BuildError`` leaves none behind."""
        ...

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        """A runner; raises a ``DependencyError`` if the file cannot run here."""
        ...

    def describe(self, path: Path) -> dict[str, Any]:
        """What ``inspect`` shows, as the fields of ``adaptrt.specs.descriptions.Description``; all are optional."""
        ...


@runtime_checkable
class ChecksOptions(Protocol):
    """A backend that rejects build options that a target does not support, before anything is loaded."""

    def check_options(self, options: BuildOptions, target: Target) -> None:
        """Raise a ``UsageError`` that names the option."""
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


BACKENDS: Registry[Backend] = Registry("adaptrt.backends", "backend", Backend)


def runs_onnx(backend: Backend) -> bool:
    """Whether a backend runs the ONNX file itself, so that it has nothing to build."""
    return ".onnx" in backend.suffixes


def backend_of(path: Path) -> Backend | None:
    """The backend that opens this file, by the longest matching suffix; ``None`` if none matches."""
    found = suffix_of(path)
    return found[0] if found else None


def suffix_of(path: Path) -> tuple[Backend, str] | None:
    """The backend that opens this file, and which of its suffixes the file has."""
    name = path.name.lower()
    fitting = [
        (backend, suffix) for backend in BACKENDS.all() for suffix in backend.suffixes if name.endswith(suffix.lower())
    ]
    if not fitting:
        return None
    longest = max(len(suffix) for _, suffix in fitting)
    best = [(backend, suffix) for backend, suffix in fitting if len(suffix) == longest]
    if len(best) > 1:
        raise PluginError(
            f"Files {best[0][1]} are claimed by {' and by '.join(backend.name for backend, _ in best)}.",
            hint=f"Uninstall one of {', '.join(BACKENDS.distribution(backend.name) for backend, _ in best)}.",
        )
    return best[0]


def model_suffixes() -> list[str]:
    """The suffixes of all files that a backend opens; those of ONNX files first."""
    found = [suffix for backend in BACKENDS.all() for suffix in backend.suffixes]
    return sorted(dict.fromkeys(found), key=lambda suffix: suffix != ".onnx")


def backend_named(word: str) -> tuple[Backend, str]:
    """The backend for a value of ``--to``, and the suffix of its file.

    A word is the name of a backend (``tensorrt``), or a suffix or its first part (``engine``, ``plan``, ``rtx``).
    """
    if word in BACKENDS.names():
        backend = BACKENDS.find(word)
        return backend, backend.suffixes[0]
    words = _suffix_words()
    if word not in words:
        known = [*words, *(name for name in BACKENDS.names() if name not in words)]
        raise UsageError(
            f"--to {word!r} is not a kind of file that can be written.",
            hint=did_you_mean(word, known),
        )
    return words[word]


def _suffix_words() -> dict[str, tuple[Backend, str]]:
    """Suffixes and their first parts, without the dot; for duplicates, the backend's first suffix wins."""
    words: dict[str, tuple[Backend, str]] = {}
    for backend in BACKENDS.all():
        for suffix in backend.suffixes:
            whole = suffix.lower().removeprefix(".")
            for word in (whole, whole.partition(".")[0]):
                words.setdefault(word, (backend, suffix))
    return words


def all_targets() -> dict[str, Target]:
    """All targets by name; for each backend its default first."""
    return {name: target for backend in BACKENDS.all() for name, target in backend.targets.items()}


def target_named(name: str) -> Target:
    """The target with this name; a ``UsageError`` lists the available ones."""
    targets = all_targets()
    if name not in targets:
        known = sorted(targets)
        raise UsageError(f"Unknown target {name!r}.", hint=did_you_mean(name, known))
    return targets[name]
