"""Which backends are compared, on which files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.evaluation.request import EvaluationRequest
from adaptrt.pipeline.beside import is_replaced, report_of
from adaptrt.pipeline.load import Model, load
from adaptrt.pipeline.reference import Origin, load_reference
from adaptrt.specs.backend_parts import ChecksRuntime, KnowsOrigin, ReadsSpec
from adaptrt.specs.backends import BACKENDS, fitting_options
from adaptrt.store.model_files import distinct_names, require_backend, require_model_file

EAGER = "eager"


@dataclass(frozen=True)
class Subject:
    """A backend and the file it runs; for ``eager`` the file whose report holds the spec.

    ``name``: the file's, or its path where another file has the same. ``stem``: that of files about it, which no other has.
    """

    backend: str
    path: Path
    shown: str = ""
    number: int = 1
    """Among those with this backend and stem."""

    @property
    def name(self) -> str:
        return self.shown or self.path.name

    @property
    def stem(self) -> str:
        return self.path.stem if self.number == 1 else f"{self.path.stem}-{self.number}"

    def require_backend(self) -> None:
        """Raise a ``DependencyError`` if the backend is not installed, before other backends run."""
        backend = BACKENDS.find(self.backend) if self.backend != EAGER else None
        if isinstance(backend, ChecksRuntime):
            backend.check_runtime()

    def open(self, request: EvaluationRequest, origin: Origin | None) -> Model:
        if self.backend == EAGER:
            assert origin is not None
            return load_reference(self.path, origin, plugins_file=request.plugins_file)
        options = fitting_options(BACKENDS.find(self.backend), request.options)
        return load(self.path, options, plugins_file=request.plugins_file, adoption=request.adoption)


def choose_subjects(files: Sequence[Path], backends: Sequence[str]) -> list[Subject]:
    """Each backend on each file it can run, backends in the requested order; by default, those of the files.

    A file that was not given is searched next to the others: the engine's ONNX file, the ONNX file's engine.
    """
    known = [EAGER, *BACKENDS.names()]
    for backend in backends:
        if backend not in known:
            raise UsageError(f"Unknown backend {backend!r}.", hint=did_you_mean(backend, known))
    for path in files:
        require_model_file(path)
    if not files:
        raise UsageError("No file specified.", hint="Pass .onnx or .engine files that adaptrt wrote.")
    wanted = backends or list(dict.fromkeys(_backend_of(path) for path in files))
    subjects: list[Subject] = []
    for backend in dict.fromkeys(wanted):
        subjects += _distinct(backend, _files_for(backend, files))
    return subjects


def doubts(files: Sequence[Path], subjects: Sequence[Subject]) -> list[str]:
    """A note for each built file whose ONNX file, which is evaluated too, was replaced since: they may be two models."""
    paths = dict.fromkeys([*(subject.path for subject in subjects), *files])
    found = []
    for path in paths:
        backend = require_backend(path)
        origin = backend.origin_of(path) if isinstance(backend, KnowsOrigin) else None
        source = path.with_name(Path(origin.onnx).name) if origin is not None else None
        if origin is not None and source in paths and is_replaced(source, origin):
            found.append(
                f"{source.name} is not identical to the file that {path.name} was built from: they may be two models"
            )
    return found


def _distinct(backend: str, files: Sequence[Path]) -> list[Subject]:
    stems, subjects = Counter[str](), []
    for path, name in zip(files, distinct_names(list(map(str, files))), strict=True):
        stems[path.stem] += 1
        subjects.append(Subject(backend, path, name, stems[path.stem]))
    return subjects


def require_one_task(subjects: Sequence[Subject]) -> None:
    """Reject files of different tasks before any of them runs, as far as their backends read specs without that."""
    known: dict[str, str] = {}
    for subject in subjects:
        backend = BACKENDS.find(subject.backend) if subject.backend != EAGER else None
        spec = backend.read_spec(subject.path) if isinstance(backend, ReadsSpec) else None
        if spec is not None:
            require_task(spec.task, subject, known)


def require_task(task: str, subject: Subject, known: dict[str, str]) -> None:
    """``known``: the files seen so far by their tasks."""
    known.setdefault(task, subject.name)
    if len(known) > 1:
        said = ", ".join(f"{name} is for {task}" for task, name in known.items())
        raise UsageError(f"The files have different tasks: {said}.", hint="Evaluate those of one task at a time.")


def _files_for(backend: str, files: Sequence[Path]) -> list[Path]:
    if backend == EAGER:
        reported = [path for path in files if report_of(path) is not None]
        if not reported:
            raise UsageError(
                f"The pre- and postprocessing of {files[0].name} are unknown: no report next to it.",
                hint="Copy <name>.report.json next to the file, or remove eager from --backend.",
            )
        return reported[:1]
    found = [path for path in files if _backend_of(path) == backend]
    if found:
        return found
    suffixes = BACKENDS.find(backend).suffixes
    named = [path.with_name(_stem(path) + suffix) for path in files for suffix in suffixes]
    beside = [path for path in named if path.is_file()]
    if not beside:
        raise UsageError(
            f"Backend {backend} has no file to run: no {' or '.join(suffixes)} file found.",
            hint=f"Pass one, or remove {backend} from --backend.",
        )
    return list(dict.fromkeys(beside))


def _stem(path: Path) -> str:
    """The name without the suffix of its backend: ``best`` of ``best.rtx.engine``."""
    suffix = max((one for one in require_backend(path).suffixes if path.name.lower().endswith(one)), key=len)
    return path.name[: -len(suffix)]


def _backend_of(path: Path) -> str:
    return require_backend(path).name
