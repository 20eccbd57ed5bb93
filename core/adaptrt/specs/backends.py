"""Backends, which build and run converted models: their protocol, and how they are found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.errors import PluginError, UsageError, did_you_mean
from adaptrt.specs.backend_parts import TakesOptions
from adaptrt.specs.devices import FORM, is_device
from adaptrt.specs.registry import Registry
from adaptrt.specs.runners import FileRunner

if TYPE_CHECKING:
    from adaptrt.onnxfile.files import OnnxFiles
    from adaptrt.specs.build import BuildOptions
    from adaptrt.specs.descriptions import Description
    from adaptrt.specs.model import ModelSpec
    from adaptrt.specs.precisions import Precision
    from adaptrt.specs.targets import Target


@dataclass(frozen=True, kw_only=True)
class Expression:
    """How a backend computes in a precision.

    ``graph``: the precision must be in the ONNX graph (casts or Q/DQ nodes); else it is a build option of the backend.
    ``runs``: whether its runner computes in it; a file that it cannot run may still be written.
    ``unsupported`` is the reason why the backend does not support it; empty if it does.
    """

    graph: bool = False
    runs: bool = True
    unsupported: str = ""


@dataclass(frozen=True, kw_only=True)
class OpenOptions:
    """How a file is opened to run.

    ``device`` is ``cpu`` or ``cuda:0``; ``None``: the backend's default. ``custom_ops`` are shared libraries with
    operators for ONNX Runtime, ``plugin_libs`` those for any other backend: code, named by the user. ``allow_host_code``: the file may contain host code.
    ``optimize=False`` runs the graph node by node, without optimizations. ``threads`` limits the CPU threads of one model; ``None``:
    the backend's default. ``cuda_graphs=False`` enqueues every call, with a backend that replays CUDA graphs.
    ``cpu_images``: images are preprocessed on the CPU, with a backend that otherwise does it on the GPU. ``gpu_jpeg``: JPEG files are
    decoded on the GPU, with a backend that can.
    """

    device: str | None = None
    custom_ops: tuple[Path, ...] = ()
    plugin_libs: tuple[Path, ...] = ()
    allow_host_code: bool = False
    optimize: bool = True
    threads: int | None = None
    cuda_graphs: bool = True
    cpu_images: bool = False
    gpu_jpeg: bool = False

    def __post_init__(self) -> None:
        if self.device is not None and not is_device(self.device) and not _is_of_a_backend(self.device):
            raise UsageError(f"{self.device!r} is not a device.", hint=f"Use {FORM}.")


@dataclass(frozen=True, kw_only=True)
class BackendRequest:
    """The input of a backend's build.

    ``onnx_path`` has the precision in its graph if ``Backend.express`` requires it. ``output`` is the file to write; names
    of additional files are derived from it. ``progress(done, total, text)``, ``warn(text)`` and ``detail(text)`` report
    while the build runs. ``onnx`` holds the outline and hash of the ONNX file in a conversion. ``configure`` is ``module:function`` with its argument, called in the build process.
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
    onnx: OnnxFiles | None = None
    progress: Callable[[int, int, str], None] = field(default=lambda *_: None)
    warn: Callable[[str], None] = field(default=lambda _: None)
    detail: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True, kw_only=True)
class Built:
    """A file that a backend built. ``files`` maps a suffix to each of its files; the first is the one to open.

    The rest goes into the report: ``summary`` in a sentence, ``facts`` by title, ``layers`` by the precision they compute
    in, ``messages`` of the builder, ``record`` as data, ``notes`` as sentences.
    """

    files: Mapping[str, Path]
    record: Any = None
    summary: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)
    messages: Sequence[str] = ()
    notes: Sequence[str] = ()


@runtime_checkable
class Backend(Protocol):
    """Builds and runs converted models. Found by name under the entry-point group ``adaptrt.backends``. ``backend_parts`` has the
    optional parts.

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

        A backend with a single target implies it: ``--to rtx`` does not require ``--target rtx``. Several backends build from one
        graph, made for the target of one that all of them read (``Target.reads_graph_of``).
        """
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """The kinds of device that its files run on (``cpu``, ``cuda``), the default first."""
        ...

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        """The reason why nothing can be built here; ``None`` if building is possible."""
        ...

    def express(self, precision: Precision, target: Target) -> Expression:
        """How this backend computes in a precision."""
        ...

    def build(self, request: BackendRequest) -> Built:
        """Build the file. After a ``BuildError``, no files are left."""
        ...

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        """A runner; raises a ``DependencyError`` if the file cannot run here."""
        ...

    def describe(self, path: Path) -> Description:
        """What ``inspect`` shows."""
        ...


BACKENDS: Registry[Backend] = Registry("adaptrt.backends", "backend", Backend)


def build_options_of(backend: Backend) -> Collection[str]:
    """The fields of ``BuildOptions`` that a backend reads."""
    return backend.build_options if isinstance(backend, TakesOptions) else ()


def runs_on(backend: Backend, device: str) -> bool:
    """Whether the files of a backend run on this kind of device: ``cpu``, ``cuda`` or ``cuda:1``."""
    return device.partition(":")[0] in backend.devices


def _is_of_a_backend(device: Any) -> bool:
    """Whether a backend declares this kind of device, besides those of core: ``npu`` or ``npu:0``."""
    kind = device.partition(":")[0] if isinstance(device, str) else ""
    return kind not in ("", "cpu", "cuda") and any(kind in backend.devices for backend in BACKENDS.all())


def fitting_options(backend: Backend, options: OpenOptions) -> OpenOptions:
    """The options, with the backend's default device if its files do not run on the one in them."""
    return options if options.device is None or runs_on(backend, options.device) else replace(options, device=None)


def default_backends() -> list[Backend]:
    """Core's backends whose files are written without ``--to``, what runs the ONNX file first."""
    core = [BACKENDS.find(name) for name in BACKENDS.core_names()]
    return sorted((one for one in core if getattr(one, "by_default", False)), key=lambda one: not runs_onnx(one))


def runs_onnx(backend: Backend) -> bool:
    """Whether a backend runs the ONNX file itself, so that it has nothing to build."""
    return ".onnx" in backend.suffixes


def onnx_backend() -> Backend:
    """Core's backend that runs the ONNX file itself."""
    return next(one for one in default_backends() if runs_onnx(one))


def backend_title(name: str) -> str:
    """The title of a backend; its name if it is not installed."""
    return next((one.title for one in BACKENDS.all() if one.name == name), name)


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
            f"--to {word!r} is not a supported output.",
            hint=BACKENDS.install_hint(word.partition(".")[0]) or did_you_mean(word, known),
        )
    return words[word]


def word_of(backend: Backend) -> str:
    """The short value of ``--to`` for a backend: ``engine``, ``rtx``."""
    return backend.suffixes[0].split(".")[1]


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
