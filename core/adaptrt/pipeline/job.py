"""What converting and building have in common: stages, files, the reduced-precision graph, the engine, and how it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from adaptrt.backends.tensorrt.generations import target_of, wants_reduced_graph
from adaptrt.errors import AdaptrtError, ExportError, OutputError, PluginError, VerificationError
from adaptrt.pipeline import links
from adaptrt.pipeline.cache import KIND, conversion_key, watch_sources
from adaptrt.pipeline.environment import describe_environment, inductor_cache
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.output import Destination, choose_destination, opened, output_error, publish, record_file
from adaptrt.pipeline.samples import Sample
from adaptrt.pipeline.sessions import open_session
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import Settings
from adaptrt.report import Check, Failure, Report, Stage
from adaptrt.request import Conversion, Request
from adaptrt.specs import ModelSpec, precision_named
from adaptrt.store.cache import Store, cache_problem
from adaptrt.store.source_files import SourceFiles, changed_message

if TYPE_CHECKING:
    from adaptrt.plugins.facade import Hooks
    from adaptrt.specs.runners import Runner

# how many samples at the first shapes
SAMPLES = {"full": 4, "quick": 2, "none": 1}

Documents = Callable[[Report, Path], Mapping[str, Path]]


@dataclass
class Job:
    """A conversion or build on its way. Each method is one stage of its life, or serves all of them."""

    request: Request
    report: Report
    observer: Observer
    session: Session
    settings: Settings
    workdir: Path
    destination: Destination
    documents: Documents | None
    ctx: Conversion = field(init=False)
    stage: str = "start"
    files: dict[Path, Path] = field(default_factory=dict)  # what is to be published, by its final name
    samples: list[Sample] = field(default_factory=list)
    sources: SourceFiles = field(init=False)
    cache_key: str | None = None
    why_unverified: str = "--verify none"
    report_suffix: ClassVar[str] = ".report"

    @property
    def hooks(self) -> Hooks:
        return self.session.hooks

    def run(self) -> None:
        """All of it; files are published at its end."""
        raise NotImplementedError

    def begin(self) -> None:
        """What hooks get, and what the report knows from the start."""
        self.sources = watch_sources(self.request)
        self.leave_unsafe_cache()
        # plugins hear of the end also where the options are wrong
        self.ctx = Conversion(
            self.request,
            None,
            self.workdir,
            self.settings.settings,
            self.report.notes,
            warn=self.warn,
            tell=self.observer.detail,
            progress=self.observer.stage_progress,
            builder_plugins=tuple(self.session.implementations().get("configure_builder", ())),
            findings=self.report.findings,
            reduced_graph=wants_reduced_graph(self.request),
        )
        self.report.plugins = dict(self.session.sources)
        self.report.environment = describe_environment()
        for warning in self.session.warnings:
            self.warn(warning)

    def leave_unsafe_cache(self) -> None:
        """Neither results nor timings come from a folder in which others may have placed them."""
        problem = cache_problem() if self.request.cache else None
        if problem is not None:
            self.warn(problem)
            build = replace(self.request.build, timing_cache=False)
            self.request = replace(self.request, cache=False, build=build)

    def add_file(self, kind: str, path: Path, suffix: str) -> None:
        destination = self.destination.path(suffix)
        self.files[destination] = path
        self.report.files[kind] = record_file(path, destination)

    def finish(self) -> None:
        """Everything under its name, the report last; and into the cache."""
        self.stage = "publish"
        self.check_sources()
        self.report.status = "passed"
        page = self.destination.path(f"{self.report_suffix}.html")
        if self.documents is not None and page not in self.files:
            for suffix, path in self.documents(self.report, self.workdir).items():
                self.files[self.destination.path(suffix.replace(".report", self.report_suffix))] = path
        report = self.workdir / "report.json"
        report.write_text(self.report.to_json(), encoding="utf-8")
        self.files[self.destination.path(f"{self.report_suffix}.json")] = report
        if self.cache_key is not None and not self.report.cached:
            self.remember(self.cache_key)
        publish(self.files, self.workdir)

    def check_sources(self) -> None:
        """What was made from files that changed meanwhile is not kept: it would be served for their content."""
        if self.report.cached:
            return
        changed = self.sources.changed()
        if changed:
            self.warn(f"{changed_message(changed)}. It is not kept in the cache; convert again once the file is final.")
            self.cache_key = None
        elif self.cache_key is not None:
            now, _ = conversion_key(self.request, self.session, self.settings, self.sources)
            if now != self.cache_key:  # a config beside the weights, say, that was not there at the start
                self.warn("A file that the conversion may have read appeared meanwhile. It is not kept in the cache.")
                self.cache_key = None

    def remember(self, key: str) -> None:
        """Keep copies for the next time; that this cannot be done is no failure."""
        files = {self.destination.suffix(name): path for name, path in self.files.items()}
        try:
            Store().put(key, KIND, f"{self.report.adapter} {self.report.source}", files)
        except OutputError as error:
            self.warn(f"{error.message} {error.hint or ''}".strip())

    def reduce_precision(self, onnx_path: Path, spec: ModelSpec) -> Path:
        """Link 3: the graph in the precision asked for, within what that precision costs."""
        from adaptrt.onnxfile.node_rules import require_quantised
        from adaptrt.onnxfile.reader import read_onnx
        from adaptrt.pipeline.engine import check_reduced, why_float32

        self.ctx = replace(self.ctx, samples=tuple(sample.inputs for sample in self.samples))
        with self.timed("types") as stage:
            reduced = self.hooks.reduce_precision(self.ctx, onnx_path, spec)
            if self.request.precision == "int8":
                require_quantised(read_onnx(reduced), self.request.precision)
            stage.note = self.request.precision
        if reduced == onnx_path:
            self.not_run(3, why_float32(self.request))
            return reduced
        if read_onnx(onnx_path).spec is not None and read_onnx(reduced).spec is None:
            who = self.session.answered("reduce_precision")
            raise PluginError(
                f"{who} returned a graph from reduce_precision that lost the file's metadata.",
                hint=f"Copy metadata_props from {onnx_path.name}: the spec travels in there.",
            )
        from adaptrt.graph.lint import (
            check_reduced as check_reduced_graph,  # needs onnx, as what reduced it did
        )

        self.add_file("reduced", reduced, f".{self.request.precision}.onnx")
        self.report.findings += check_reduced_graph(reduced, spec, target_of(self.request))
        if self.request.verify == "none":
            self.not_run(3, self.why_unverified)
            return reduced
        with self.timed("link 3", verifying=True):
            jumps: list[Check] = []
            with links.guarded(self.report.link(3)):
                checks = check_reduced(reduced, self.request, self.samples, spec, self.workdir, jumps)
            links.record_compared(self.report.link(3), checks, (), jumps)
        return reduced

    @contextmanager
    def engine(self, onnx_path: Path, float32: Path, spec: ModelSpec) -> Iterator[Runner | None]:
        """Build and link 4; inside, the engine can run, if it can run here. Its manifest is written at the end."""
        from adaptrt.backends.tensorrt.availability import engine_unavailable_reason
        from adaptrt.backends.tensorrt.manifest import find_manifest, manifest_path
        from adaptrt.pipeline.engine import complete_manifest, engine_record

        with self.timed("build") as stage:
            plan = self.hooks.build_engine(self.ctx, onnx_path, spec)
            manifest = find_manifest(plan) if plan is not None else None
            if manifest is not None:
                self.report.engine = engine_record(manifest)
                stage.note = manifest.precision_report.summary
            elif plan is None:
                stage.note = (
                    engine_unavailable_reason(target_of(self.request), self.request.build.device) or "nobody built one"
                )
        if plan is None:
            self.not_run(4, f"no engine was built: {stage.note}")
            yield None
            return
        runner = None
        if self.request.verify == "none":
            self.not_run(4, self.why_unverified)
        else:
            runner = self.verify_engine(plan, spec)
        try:
            yield runner
        finally:
            if runner is not None:
                runner.close()
        self.add_file("engine", plan, ".engine")
        names = {path: destination for destination, path in self.files.items()}  # a build's own source keeps its name
        onnx_name, float32_name = names.get(onnx_path, onnx_path), names.get(float32, float32)
        if complete_manifest(plan, onnx_name, float32_name, self.report) is not None:
            self.add_file("manifest", manifest_path(plan), ".engine.json")

    def verify_engine(self, plan: Path, spec: ModelSpec) -> Runner | None:
        """Link 4: the engine on every sample, alone and in batches."""
        from adaptrt.pipeline.engine import open_engine

        with self.timed("link 4", verifying=True) as stage, ExitStack() as on_failure:
            precision = precision_named(self.request.precision)
            jumps: list[Check] = []
            with links.guarded(self.report.link(4)):
                runner, problem = open_engine(plan, self.request)
                if runner is None:
                    stage.note = problem
                    self.not_run(4, problem)
                    return None
                on_failure.callback(runner.close)
                checks, outputs = links.compare_samples(runner.run, self.samples, spec, precision, jumps)
                invariance, note = links.check_batch_invariance(
                    runner.run, self.samples, outputs, spec, self.request.verify, precision=precision
                )
            stage.note = self.report.link(4).reason = note
            links.record_compared(self.report.link(4), checks, invariance, jumps)
            on_failure.pop_all()
        return runner

    def images(self) -> list[Path]:
        return [path for path in (self.request.image, self.request.test_image) if path is not None]

    @contextmanager
    def timed(self, name: str, *, verifying: bool = False) -> Iterator[Stage]:
        """A stage: announced, timed, recorded also when it fails."""
        self.stage = name
        stage = Stage(name, verifying=verifying)
        self.report.stages.append(stage)
        self.observer.stage_started(name)
        started = time.perf_counter()
        try:
            yield stage
        finally:
            stage.seconds = time.perf_counter() - started
        self.observer.stage_finished(stage)

    def not_run(self, link: int, reason: str) -> None:
        self.report.link(link).reason = reason

    def warn(self, text: str) -> None:
        self.report.warnings.append(text)
        self.observer.warning(text)

    def failed(self, error: BaseException) -> BaseException:
        """Record a failure; what to raise for it."""
        found = error
        if isinstance(error, OSError):  # hooks' own come as PluginError: this was writing, or the disk
            found = output_error(error, self.destination.folder)
        message = found.message if isinstance(found, AdaptrtError) else str(found) or type(found).__name__
        if isinstance(found, (ExportError, VerificationError)):
            found.hint = links.hint_with_hazards(found.hint, self.report.findings)
        hint = found.hint if isinstance(found, AdaptrtError) else None
        self.report.status = "failed"
        for link in self.report.links:
            if link.status == "not run" and not link.reason:
                link.reason = f"the conversion failed before ({self.stage})"
        self.report.files.clear()
        self.report.failure = Failure(type(found).__name__, message, hint, self.stage)
        if isinstance(found, AdaptrtError):
            found.report = self.report
        return found

    def tell(self) -> None:
        """Tell everybody that this is the end. What fails in that never hides why the conversion failed."""
        try:
            if hasattr(self, "ctx"):
                self.hooks.conversion_finished(self.ctx, self.report)
        except (AdaptrtError, OSError) as error:
            message = error.message if isinstance(error, AdaptrtError) else str(error)
            if self.report.status == "failed":
                self.warn(message)
                return
            files = ", ".join(record.path for record in self.report.files.values())
            late = PluginError(message, hint=f"The conversion itself succeeded: {files}")
            late.report = self.report
            raise late from error
        finally:
            self.observer.finished(self.report)


def run_job(
    kind: type[Job],
    request: Request,
    observer: Observer | None,
    documents: Documents | None,
    *,
    adapter: str | None,
) -> Report:
    """Run one; whatever happens, everybody hears of the end, and only whole results are left."""
    report = Report(
        adapter=request.adapter,
        source=request.source,
        command=request.command,
        weights=str(request.weights or ""),
        options={
            key: value if isinstance(value, (str, int, float, bool, list, tuple, dict)) else str(value)
            for key, value in request.options.items()
        },
    )
    destination = choose_destination(request.source, request.output, request.precision)
    with opened(destination) as workdir, inductor_cache(workdir):
        session, settings = open_session(adapter, request.plugins_file)
        running = kind(request, report, observer or Observer(), session, settings, workdir, destination, documents)
        try:
            running.run()
        except BaseException as error:
            failure = running.failed(error)
            running.tell()
            if failure is error:
                raise
            raise failure from error
        running.tell()
    return report
