"""Which backends are compared, on which files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptrt.backends.tensorrt.generations import import_tensorrt
from adaptrt.errors import UsageError, did_you_mean
from adaptrt.pipeline.load import Model, load
from adaptrt.pipeline.reference import Origin, load_reference, report_of
from adaptrt.store.model_files import ENGINE_SUFFIXES, require_model_file

BACKENDS = ("eager", "onnxruntime", "tensorrt")


@dataclass(frozen=True)
class Subject:
    """A backend and the file it runs; for ``eager`` the file whose report holds the spec."""

    backend: str
    path: Path

    def require_backend(self) -> None:
        """A ``DependencyError`` where the backend is not installed, before others have worked for minutes."""
        if self.backend == "tensorrt":
            import_tensorrt()

    def open(
        self,
        *,
        device: str | None,
        origin: Origin | None,
        allow_host_code: bool,
        plugin_libs: Sequence[Path],
        custom_ops: Sequence[Path],
        plugins_file: Path | None,
    ) -> Model:
        if self.backend == "eager":
            assert origin is not None
            return load_reference(self.path, origin, plugins_file=plugins_file)
        return load(
            self.path,
            device=device if self.backend == "onnxruntime" or device != "cpu" else None,
            allow_host_code=allow_host_code,
            plugin_libs=plugin_libs,
            custom_ops=custom_ops,
            plugins_file=plugins_file,
        )


def choose_subjects(files: Sequence[Path], backends: Sequence[str]) -> list[Subject]:
    """Each backend on each file it can run, backends in the order asked for; without any, those of the files.

    A file that was not given is looked for beside the others: the engine's ONNX file, the ONNX file's engine.
    """
    for backend in backends:
        if backend not in BACKENDS:
            raise UsageError(f"There is no backend {backend!r}.", hint=did_you_mean(backend, BACKENDS))
    for path in files:
        require_model_file(path)
    if not files:
        raise UsageError("No file was given.", hint="Give .onnx and .engine files that adaptrt wrote.")
    wanted = backends or list(dict.fromkeys(_backend_of(path) for path in files))
    subjects: list[Subject] = []
    for backend in dict.fromkeys(wanted):
        subjects += [Subject(backend, path) for path in _files_for(backend, files)]
    return subjects


def _files_for(backend: str, files: Sequence[Path]) -> list[Path]:
    if backend == "eager":
        reported = [path for path in files if report_of(path) is not None]
        if not reported:
            raise UsageError(
                f"The pre- and postprocessing of {files[0].name} are unknown: its report is not beside it.",
                hint="Keep <name>.report.json beside the file, or leave eager out of --backend.",
            )
        return reported[:1]
    found = [path for path in files if _backend_of(path) == backend]
    if found:
        return found
    suffixes = (".onnx",) if backend == "onnxruntime" else ENGINE_SUFFIXES
    beside = [path.with_suffix(suffix) for path in files for suffix in suffixes if path.with_suffix(suffix).is_file()]
    if not beside:
        raise UsageError(
            f"Backend {backend} has nothing to run: there is no {' or '.join(suffixes)} file.",
            hint=f"Give one, or leave {backend} out of --backend.",
        )
    return list(dict.fromkeys(beside))


def _backend_of(path: Path) -> str:
    return "tensorrt" if path.suffix in ENGINE_SUFFIXES else "onnxruntime"
