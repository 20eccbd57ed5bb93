"""Builds an engine from an ONNX file: the entry points of hooks and commands."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from adaptrt.backends.tensorrt.build.log import LogCollector, LogNote, Severity
from adaptrt.backends.tensorrt.build.messages import BuildMessage, Event
from adaptrt.backends.tensorrt.build.messages import Built as BuildResult
from adaptrt.backends.tensorrt.build.precision_report import (
    PrecisionReport,
    add_kernel_evidence,
    make_precision_report,
    require_precision_shown,
)
from adaptrt.backends.tensorrt.build.process import run_build
from adaptrt.backends.tensorrt.build.profiles import profiles_of
from adaptrt.backends.tensorrt.generations import generation_of
from adaptrt.backends.tensorrt.manifest import LibraryRecord, Manifest, manifest_path
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.backends.tensorrt.records import built_of
from adaptrt.errors import AdaptrtError, BuildError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.hashing import onnx_sha256
from adaptrt.onnxfile.reader import OnnxFile
from adaptrt.specs.backends import BackendRequest, Built
from adaptrt.store.hashing import file_sha256
from adaptrt.store.source_files import SourceFiles, changed_message


@dataclass
class BuildWatcher:
    """Callbacks of a build; override as needed."""

    log_level: Severity = "warning"

    def stage(self, name: str) -> None:
        """``parse``, ``build`` or ``inspect`` begins."""

    def progress(self, fraction: float | None, seconds: float, remaining: float | None, text: str) -> None:
        """Called about once a second with the completed fraction (``None`` if unknown), elapsed time, and an estimate."""

    def note(self, note: LogNote) -> None:
        """The first message of a class."""

    def message(self, severity: Severity, text: str) -> None:
        """Every message of TensorRT, down to ``log_level``."""


@dataclass
class EngineBuild:
    """A built engine: ``plan`` is its file, ``built`` the result of the build process."""

    plan: Path
    built: BuildResult
    precision_report: PrecisionReport
    notes: list[LogNote] = field(default_factory=list)


def engine_from_onnx(
    request: BackendRequest,
    file: OnnxFile,
    *,
    timing_folder: Path | None = None,
    watcher: BuildWatcher | None = None,
) -> EngineBuild:
    """Build the plan from an ONNX file, in a separate process, and check its precision.

    ``timing_folder`` holds the timing caches. Raises a ``BuildError`` and leaves no plan if anything fails.
    """
    watcher = watcher or BuildWatcher()
    plan, options = request.output, request.options
    profiles_of(request.spec.inputs)
    collector = LogCollector()
    clock = _Clock()

    def hear(event: Event) -> None:
        if event.kind == "stage":
            clock.restart()
            watcher.stage(event.text)
        elif event.kind == "progress":
            clock.fraction = event.fraction if event.fraction is not None else clock.fraction
            watcher.progress(clock.fraction, clock.seconds, clock.remaining, event.text)
        elif event.kind == "log":
            watcher.message(event.severity, event.text)
            note = collector.add(event.severity, event.text)
            if note is not None and note.severity == "warning":
                watcher.note(note)

    configure, argument = request.configure or (None, None)
    message = BuildMessage(
        onnx=str(request.onnx_path.resolve()),
        plan=str(plan.resolve()),
        spec=request.spec,
        product=generation_of(request.target.name).product.name,
        precision=request.precision.name,
        keep_fp32=list(request.keep_fp32),
        options=options,
        timing_cache=str(timing_folder.resolve()) if timing_folder and options.timing_cache else None,
        log_level=watcher.log_level,
        configure=configure,
        configure_with=argument,
    )
    built = run_build(message, plan.parent, hear)
    precision_report = make_precision_report(
        built.layers,
        request.precision.name,
        plan_bytes=plan.stat().st_size,
        float32_bytes=file.float32_bytes,
        weight_bytes=built.weight_bytes,
        inspected=built.inspected,
        preferred=built.preferred,
    )
    add_kernel_evidence(precision_report, plan)
    try:
        require_precision_shown(precision_report)
    except BuildError:
        plan.unlink()
        raise
    return EngineBuild(plan, built, precision_report, collector.notes)


def make_manifest(build: EngineBuild, request: BackendRequest, sha256: str, sources: SourceFiles) -> Manifest:
    """The manifest of a build; the pipeline adds adapter, patches, passes and checks.

    ``sha256`` is the hash of the ONNX file; ``sources`` has those of the other files that the build read.
    """
    from adaptrt.version import __version__

    built, options = build.built, request.options
    return Manifest(
        plan_sha256=file_sha256(build.plan),
        plan_bytes=build.plan.stat().st_size,
        onnx=request.onnx_path.name,
        onnx_sha256=sha256,
        tensorrt=built.tensorrt,
        cuda=built.cuda,
        driver=built.driver,
        gpu=built.gpu,
        capability=built.capability,
        product=generation_of(request.target.name).product.name,
        compute_capabilities=built.compute_capabilities,
        precision=request.precision.name,
        spec=request.spec,
        precision_report=build.precision_report,
        options=options,
        keep_fp32=request.keep_fp32,
        host_code=options.version_compatible,
        device_memory=built.device_memory,
        plugin_libs=[
            LibraryRecord(str(Path(library).resolve()), sources.content(Path(library)))
            for library in options.plugin_libs
        ],
        messages=build.notes,
        command=request.command,
        rebuild=rebuild_line_of(request),
        adaptrt=__version__,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        build_seconds=built.seconds,
    )


def build_artifact(request: BackendRequest, suffix: str) -> Built:
    """Build for a request of the pipeline: an engine with its manifest, and notes for the report.

    ``suffix`` is the file suffix of these engines.
    """
    manifest, cached = build_engine(request, watcher=_RequestWatcher(request))
    notes = [f"the engine was taken from the cache: built {manifest.created}"] if cached else []
    notes.append(f"precision report: {manifest.precision_report.summary}; {manifest.precision_report.evidence}")
    if manifest.precision_report.note:
        request.warn(f"Precision: {manifest.precision_report.note}.")
    return replace(built_of(request.output, suffix), notes=notes)


def build_engine(
    request: BackendRequest, *, timing_folder: Path | None = None, watcher: BuildWatcher | None = None
) -> tuple[Manifest, bool]:
    """The plan with its manifest, built or from the cache (True); builds configured by a plugin are never cached."""
    from adaptrt.backends.tensorrt.build.engine_cache import engine_from_cache, engine_key, keep_engine
    from adaptrt.store.cache import cache_problem, default_timing_folder

    plan = request.output
    sources = SourceFiles()
    source = hashed_source(request, sources)
    key = engine_key(request, source.sha256, sources) if request.cache and request.configure is None else None
    found = engine_from_cache(key, plan) if key else None
    if found is not None:
        found.command, found.onnx = request.command, request.onnx_path.name
        found.rebuild = rebuild_line_of(request)
        manifest_path(plan).write_text(found.to_json(), encoding="utf-8")
        return found, True
    if timing_folder is None and cache_problem() is None:
        timing_folder = default_timing_folder()
    try:
        build = engine_from_onnx(request, source.file, timing_folder=timing_folder, watcher=watcher)
        manifest = make_manifest(build, request, source.sha256, sources)
    except AdaptrtError as error:
        require_unchanged(sources, error)  # half of a file that is written meanwhile is a reason to fail
        raise
    try:
        require_unchanged(sources)
    except BuildError:
        plan.unlink()
        raise
    manifest_path(plan).write_text(manifest.to_json(), encoding="utf-8")
    if key:
        keep_engine(key, plan, manifest)
    return manifest, False


def require_unchanged(sources: SourceFiles, cause: AdaptrtError | None = None) -> None:
    """Raise a ``BuildError`` if a file that was read has changed since."""
    changed = sources.changed()
    if changed:
        hint = "Build again once the file no longer changes."
        raise BuildError(f"{changed_message(changed)}.", hint=hint) from cause


@dataclass(frozen=True)
class HashedSource:
    """The ONNX file of a build, read and hashed once."""

    file: OnnxFile
    sha256: str


def hashed_source(request: BackendRequest, sources: SourceFiles) -> HashedSource:
    """The file of a request: one in the folder that is built in belongs to this job, so that nothing else writes to it;
    ``sources`` remembers any other, to check later that it is still the same."""
    onnx = request.onnx or OnnxFiles()
    file, own = onnx.outline(request.onnx_path), request.onnx_path.parent == request.output.parent
    return HashedSource(file, onnx_sha256(request.onnx_path, onnx if own else sources, file))


def rebuild_line_of(request: BackendRequest) -> str:
    return rebuild_command(
        request.onnx_path.name,
        request.spec,
        request.precision.name,
        request.keep_fp32,
        request.options,
        generation_of(request.target.name).product,
    )


@dataclass
class _Clock:
    started: float = field(default_factory=time.monotonic)
    fraction: float | None = None

    def restart(self) -> None:
        self.started, self.fraction = time.monotonic(), None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    @property
    def remaining(self) -> float | None:
        if not self.fraction or self.fraction < 0.01:
            return None
        return self.seconds * (1 - self.fraction) / self.fraction


_LEVELS: tuple[Severity, ...] = ("warning", "info", "verbose")  # by the number of -v


class _RequestWatcher(BuildWatcher):
    """Forwards the progress of the build and TensorRT's messages."""

    def __init__(self, request: BackendRequest) -> None:
        super().__init__(log_level=_LEVELS[min(request.verbose, 2)])
        self._request = request
        self._title = generation_of(request.target.name).product.title

    def progress(self, fraction: float | None, seconds: float, remaining: float | None, text: str) -> None:  # noqa: ARG002
        left = f"about {remaining:.0f} s left" if remaining is not None else f"{seconds:.0f} s so far"
        if fraction is None:
            self._request.progress(0, 0, left)
        else:
            self._request.progress(round(fraction * 1000), 1000, left)

    def message(self, severity: Severity, text: str) -> None:
        if self._request.verbose:
            self._request.detail(f"{self._title} {severity}: {text}")

    def note(self, note: LogNote) -> None:
        self._request.warn(str(note))
