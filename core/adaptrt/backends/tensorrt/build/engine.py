"""ONNX file to engine: the call that the hooks and the commands make."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.backends.tensorrt.build.log import LogCollector, LogNote, Severity
from adaptrt.backends.tensorrt.build.messages import Built, Event, Job
from adaptrt.backends.tensorrt.build.precision_report import (
    PrecisionReport,
    make_precision_report,
    require_precision_shown,
)
from adaptrt.backends.tensorrt.build.process import run_build
from adaptrt.backends.tensorrt.build.profiles import profiles_of
from adaptrt.backends.tensorrt.manifest import LibraryRecord, Manifest, manifest_path
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.errors import BuildError
from adaptrt.onnxfile.graph_spec import spec_of_graph
from adaptrt.onnxfile.hashing import onnx_sha256
from adaptrt.onnxfile.reader import read_onnx
from adaptrt.specs import BuildOptions, ModelSpec
from adaptrt.store.hashing import file_sha256
from adaptrt.store.source_files import SourceFiles, changed_message
from adaptrt.store.workspace import follow_link, move_file, workspace

DEFAULTS = BuildOptions()


@dataclass
class BuildWatcher:
    """Hears of a build; override what is of interest."""

    log_level: Severity = "warning"

    def stage(self, name: str) -> None:
        """``parse``, ``build`` or ``inspect`` begins."""

    def progress(self, fraction: float | None, seconds: float, remaining: float | None, text: str) -> None:
        """About once a second: the part that is done (``None``: TensorRT does not tell), the time it took, and an estimate."""

    def note(self, note: LogNote) -> None:
        """The first message of a class."""

    def message(self, severity: Severity, text: str) -> None:
        """Every message of TensorRT, down to ``log_level``."""


@dataclass
class Configure:
    """A function that changes network and configuration before the build, in the build process: ``module:function``,
    called with (network, config, ``argument``)."""

    target: str
    argument: str | None = None


@dataclass
class EngineBuild:
    """An engine that was built: ``plan`` is its file, ``built`` what the build process found out."""

    plan: Path
    built: Built
    precision_report: PrecisionReport
    notes: list[LogNote] = field(default_factory=list)


def engine_from_onnx(
    onnx_path: Path,
    spec: ModelSpec | None,
    plan: Path,
    *,
    precision: str = "fp32",
    keep_fp32: tuple[str, ...] = (),
    options: BuildOptions = DEFAULTS,
    timing_folder: Path | None = None,
    watcher: BuildWatcher | None = None,
    configure: Configure | None = None,
) -> EngineBuild:
    """Build ``plan`` from an ONNX file, in a process of its own, and prove its precision.

    Shapes come from ``spec``, else from the spec inside the file, else the graph has to be static. ``timing_folder``
    holds the timing caches. Raises a ``BuildError`` and leaves no plan when anything fails.
    """
    watcher = watcher or BuildWatcher()
    file = read_onnx(onnx_path)
    spec = spec or file.spec or spec_of_graph(file)
    profiles_of(spec.inputs)
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

    job = Job(
        onnx=str(onnx_path.resolve()),
        plan=str(plan.resolve()),
        spec=spec,
        precision=precision,
        keep_fp32=list(keep_fp32),
        options=options,
        timing_cache=str(timing_folder.resolve()) if timing_folder and options.timing_cache else None,
        log_level=watcher.log_level,
        configure=configure.target if configure else None,
        configure_with=configure.argument if configure else None,
    )
    built = run_build(job, plan.parent, hear)
    precision_report = make_precision_report(
        built.layers,
        precision,
        plan_bytes=plan.stat().st_size,
        float32_bytes=file.float32_bytes,
        weight_bytes=built.weight_bytes,
    )
    try:
        require_precision_shown(precision_report)
    except BuildError:
        plan.unlink()
        raise
    return EngineBuild(plan, built, precision_report, collector.notes)


def make_manifest(
    build: EngineBuild,
    onnx_path: Path,
    spec: ModelSpec,
    *,
    precision: str,
    keep_fp32: tuple[str, ...] = (),
    options: BuildOptions = DEFAULTS,
    command: str = "",
    sources: SourceFiles | None = None,
) -> Manifest:
    """What is known after the build; the pipeline adds adapter, patches, passes and checks.

    ``sources`` knows the hashes of the files that the build read.
    """
    from adaptrt.version import __version__

    sources = sources or SourceFiles()
    built = build.built
    return Manifest(
        plan_sha256=file_sha256(build.plan),
        plan_bytes=build.plan.stat().st_size,
        onnx=onnx_path.name,
        onnx_sha256=onnx_sha256(onnx_path, sources),
        tensorrt=built.tensorrt,
        cuda=built.cuda,
        driver=built.driver,
        gpu=built.gpu,
        capability=built.capability,
        precision=precision,
        spec=spec,
        precision_report=build.precision_report,
        options=options,
        keep_fp32=keep_fp32,
        host_code=options.version_compatible,
        device_memory=built.device_memory,
        plugin_libs=[
            LibraryRecord(str(Path(library).resolve()), sources.content(Path(library)))
            for library in options.plugin_libs
        ],
        messages=build.notes,
        command=command,
        rebuild=rebuild_command(onnx_path.name, spec, precision, keep_fp32, options),
        adaptrt=__version__,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        build_seconds=built.seconds,
    )


def build_engine(
    onnx_path: Path,
    spec: ModelSpec,
    plan: Path,
    *,
    precision: str = "fp32",
    keep_fp32: tuple[str, ...] = (),
    options: BuildOptions = DEFAULTS,
    timing_folder: Path | None = None,
    watcher: BuildWatcher | None = None,
    configure: Configure | None = None,
    cache: bool = True,
    command: str = "",
) -> tuple[Manifest, bool]:
    """``plan`` and its manifest beside it, built or out of the cache (True); what a plugin configures is never cached."""
    from adaptrt.backends.tensorrt.build.engine_cache import engine_from_cache, engine_key, keep_engine
    from adaptrt.store.cache import cache_problem, default_timing_folder

    key = None
    sources = SourceFiles()
    digest = onnx_sha256(onnx_path, sources)
    if cache and configure is None:
        key = engine_key(digest, spec, precision, keep_fp32, options, sources)
        found = engine_from_cache(key, plan) if key else None
        if found is not None:
            found.command, found.onnx = command, onnx_path.name
            found.rebuild = rebuild_command(onnx_path.name, spec, precision, keep_fp32, options)
            manifest_path(plan).write_text(found.to_json(), encoding="utf-8")
            return found, True
    if timing_folder is None and cache_problem() is None:
        timing_folder = default_timing_folder()
    build = engine_from_onnx(
        onnx_path,
        spec,
        plan,
        precision=precision,
        keep_fp32=keep_fp32,
        options=options,
        timing_folder=timing_folder,
        watcher=watcher,
        configure=configure,
    )
    manifest = make_manifest(
        build,
        onnx_path,
        spec,
        precision=precision,
        keep_fp32=keep_fp32,
        options=options,
        command=command,
        sources=sources,
    )
    changed = sources.changed()
    if changed:
        plan.unlink()
        raise BuildError(f"{changed_message(changed)}.", hint="Build it again once the file is final.")
    manifest_path(plan).write_text(manifest.to_json(), encoding="utf-8")
    if key:
        keep_engine(key, plan, manifest)
    return manifest, False


def build_engine_file(
    onnx_path: Path | str,
    out_path: Path | str,
    *,
    spec: ModelSpec | None = None,
    precision: str = "fp32",
    keep_fp32: tuple[str, ...] = (),
    options: BuildOptions = DEFAULTS,
    timing_folder: Path | None = None,
    watcher: BuildWatcher | None = None,
) -> Manifest:
    """Build an engine and write it with its manifest; both appear under their names only when whole.

    ``timing_folder`` is where timing caches lie, if not in the user's cache.
    """
    onnx_path, out_path = Path(onnx_path), Path(out_path)
    if spec is None:
        file = read_onnx(onnx_path)
        spec = file.spec or spec_of_graph(file)
    out_path.parent.mkdir(parents=True, exist_ok=True)
    with workspace(out_path.parent, out_path.stem) as workdir:
        manifest, _ = build_engine(
            onnx_path,
            spec,
            workdir / "plan",
            precision=precision,
            keep_fp32=keep_fp32,
            options=options,
            timing_folder=timing_folder,
            watcher=watcher,
            cache=False,
        )
        publish_engine(workdir / "plan", out_path)
    return manifest


def publish_engine(plan: Path, out_path: Path) -> None:
    """Move plan and manifest to their names; an old manifest never stands beside a new plan."""
    manifest = manifest_path(out_path)
    target, manifest_target = follow_link(out_path), follow_link(manifest)
    manifest_target.unlink(missing_ok=True)
    move_file(plan, target)
    move_file(manifest_path(plan), manifest_target)


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
