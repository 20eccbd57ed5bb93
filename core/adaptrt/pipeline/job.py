"""What converting and building share: the request and its context, timed stages, files, and completion."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from adaptrt.backends.choice import Chosen, chosen_backends, target_of, wants_reduced_graph
from adaptrt.conversion_file import conversion_text
from adaptrt.errors import AdaptrtError, ExportError, OutputError, PluginError, UsageError, VerificationError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Runners
from adaptrt.pipeline.cache import KIND, conversion_key, watch_sources
from adaptrt.pipeline.diagnosis import Compared, record_diagnosis
from adaptrt.pipeline.environment import conversion_versions, describe_environment, inductor_cache
from adaptrt.pipeline.observer import LoggingObserver, Observer
from adaptrt.pipeline.output import Destination, destination_of, opened, output_error, publish
from adaptrt.pipeline.preflight import require_buildable, require_calibration, require_possible, unread_options
from adaptrt.pipeline.sessions import open_session
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.verdict import record_verdicts, require_verdict
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import Settings
from adaptrt.process_wide import process_wide
from adaptrt.report import Failure, FileRecord, Finding, Report, Stage
from adaptrt.request import Conversion, Request
from adaptrt.specs import ModelSpec, Precision, precision_named
from adaptrt.store.cache import Store, cache_problem
from adaptrt.store.source_files import SourceFiles, changed_message

if TYPE_CHECKING:
    from adaptrt.contributions import Metric
    from adaptrt.pipeline.verification.by_metric import MetricVerification
    from adaptrt.plugins.facade import Hooks
    from adaptrt.specs.calibration import CalibrationData
    from adaptrt.specs.runners import Runner

# number of samples at the first shapes
SAMPLES = {"full": 4, "quick": 2, "none": 1}

Documents = Callable[[Report, Path], Mapping[str, Path]]


@dataclass(kw_only=True)
class Job:
    """A conversion or build in progress. Each method is one stage, or is shared by the stages."""

    request: Request
    report: Report
    observer: Observer
    session: Session
    settings: Settings
    workdir: Path
    destination: Destination
    documents: Documents | None
    ctx: Conversion = field(init=False)
    precision: Precision = field(init=False)
    chosen: list[Chosen] = field(init=False)
    stage: str = "start"
    files: dict[Path, Path] = field(default_factory=dict)  # files to publish, by final name
    samples: list[Sample] = field(default_factory=list)
    onnx: OnnxFiles = field(default_factory=OnnxFiles)
    runners: Runners = field(default_factory=Runners)
    sources: SourceFiles = field(init=False)
    cache_key: str | None = None
    calibration: CalibrationData | None = None
    judge: MetricVerification | None = None
    held_rows: list[Sample] = field(default_factory=list)
    open_reference: Callable[[], Runner] | None = None
    why_unverified: str = "--verify none"
    report_suffix: str = ".report"
    compared: Compared | None = None  # what the last link compares
    from_model: bool = True  # whether the reference is the model itself

    @property
    def hooks(self) -> Hooks:
        return self.session.hooks

    @property
    def writes_onnx(self) -> bool:
        """Whether ONNX files are requested."""
        return any(not one.builds for one in self.chosen)

    def begin(self) -> None:
        """Set up the context for hooks, and the parts of the report that are known from the start."""
        self.sources = watch_sources(self.request)
        self.precision = precision_named(self.request.precision)
        self.chosen = chosen_backends(self.request)
        self.leave_unsafe_cache()
        # plugins are notified of the end even if the options are invalid
        self.ctx = Conversion(
            request=self.request,
            options=None,
            workdir=self.workdir,
            settings=self.settings.settings,
            notes=self.report.notes,
            warn=self.warn,
            tell=self.observer.detail,
            progress=self.observer.stage_progress,
            builder_plugins=tuple(self.session.implementations().get("configure_builder", ())),
            findings=self.report.findings,
            reduced_graph=wants_reduced_graph(self.request, self.precision),
            keep_fp32=self.request.keep_fp32,
            keep_fp16=self.request.keep_fp16,
            onnx=self.onnx,
        )
        self.report.plugins = dict(self.session.sources)
        self.report.environment = describe_environment()
        self.session.require_current()
        for warning in self.session.warnings:
            self.warn(warning)

    def leave_unsafe_cache(self) -> None:
        """Do not use results or timings from a cache folder that other users can write to."""
        problem = cache_problem() if self.request.cache else None
        if problem is not None:
            self.warn(problem)
            self.request = replace(self.request, cache=False)

    def add_file(self, kind: str, path: Path, suffix: str) -> None:
        destination = self.destination.path(suffix)
        self.files[destination] = path
        self.report.files[kind] = FileRecord(str(destination), path.stat().st_size, self.onnx.content(path))

    def add_findings(self, found: Sequence[Finding]) -> None:
        """Add findings about the graph; one that applies to several targets is added once."""
        for finding in found:
            if finding not in self.report.findings:
                self.report.findings.append(finding)

    def require_possible(self) -> None:
        """Reject what the target does not support, and note the options that only some of the backends read."""
        require_possible(self.request)
        if self.from_model:
            require_calibration(self.request, self.session.quantizers())
        self.ctx = replace(self.ctx, newest_opset=target_of(self.request).newest_opset)
        self.report.notes += unread_options(self.request)

    def require_buildable(self) -> None:
        """Reject files that were requested by name and cannot be built here, unless a plugin builds them."""
        if not self.session.others("build_engine"):
            require_buildable(self.request)

    def finish(self) -> None:
        """Publish all files, the report last, and add them to the cache."""
        self.stage = "publish"
        self.check_sources()
        record_verdicts(self.report, from_model=self.from_model)
        require_verdict(self.report, self.request.require)
        self.report.status = "passed"
        if self.from_model:
            versions = conversion_versions(self.report)
            self.report.conversion = conversion_text(
                self.request, versions, self.report.opset, self.report.exporter, self.report.spec
            )
        page, data = (self.destination.path(f"{self.report_suffix}{suffix}") for suffix in (".html", ".json"))
        written = [page] if self.documents is not None or page in self.files else []
        self.report.reports = [str(path) for path in (*written, data)]
        if self.documents is not None and page not in self.files:
            for suffix, path in self.documents(self.report, self.workdir).items():
                self.files[self.destination.path(suffix.replace(".report", self.report_suffix))] = path
        report = self.workdir / "report.json"
        report.write_text(self.report.to_json(), encoding="utf-8")
        self.files[data] = report
        if self.cache_key is not None and not self.report.cached:
            self.remember(self.cache_key)
        publish(self.files, self.workdir)

    def check_sources(self) -> None:
        """Do not cache results if a source file changed during the conversion: the key would not match."""
        if self.report.cached:
            return
        changed = self.sources.changed()
        if changed:
            self.warn(f"{changed_message(changed)}. The result is not cached; convert again once the file is final.")
            self.cache_key = None
        elif self.cache_key is not None:
            now = self.key()
            if now != self.cache_key:  # a config beside the weights, say, that was not there at the start
                self.warn(
                    "A file that the conversion may have read was created during the conversion. The result is not cached."
                )
                self.cache_key = None

    def key(self) -> str | None:
        """The key of this conversion in the cache; ``None`` if it is not cached."""
        found, _ = conversion_key(self.request, self.session, self.settings, self.sources, self.report.environment)
        return found

    def remember(self, key: str) -> None:
        """Store copies in the cache; a failure to do so is only a warning."""
        files = {self.destination.suffix(name): path for name, path in self.files.items()}
        try:
            Store().put(key, KIND, f"{self.report.adapter} {self.report.source}", files)
        except OutputError as error:
            self.warn(f"{error.message} {error.hint or ''}".strip())

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        """Metrics of agreement, as strict as the precision of what is compared allows."""
        return [found.item for found in self.hooks.metrics(self.ctx, spec, precision)]

    def images(self) -> list[Path]:
        return [path for path in (self.request.image, self.request.test_image) if path is not None]

    @contextmanager
    def timed(self, name: str, *, verifying: bool = False) -> Iterator[Stage]:
        """Announce, time and record a stage, even if it fails."""
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

    def earlier_files(self) -> str:
        """A note on existing files with the names of this conversion: they are not its result."""
        suffixes = dict.fromkeys([".onnx", *(one.suffix for one in getattr(self, "chosen", []))])
        paths = [
            path
            for path in map(self.destination.path, suffixes)
            if path.is_file() and path != Path(self.request.source)
        ]
        if not paths:
            return ""
        names = ", ".join(path.name for path in paths)
        date = datetime.fromtimestamp(max(path.stat().st_mtime for path in paths)).strftime("%Y-%m-%d %H:%M")
        return f"{names} ({date}) {'is' if len(paths) == 1 else 'are'} from an earlier run."

    def failed(self, error: BaseException) -> BaseException:
        """Record a failure; returns the exception to raise."""
        found = error
        if isinstance(error, OSError):  # errors of hooks are PluginErrors: this one comes from writing files
            found = output_error(error, self.destination.folder)
        message = found.message if isinstance(found, AdaptrtError) else str(found) or type(found).__name__
        if isinstance(found, (ExportError, VerificationError)):
            tried = self.ctx.failed_exporters if hasattr(self, "ctx") else ()
            found.hint = links.hint_with_hazards(links.hint_without(found.hint, tried), self.report.findings)
            if self.report.link(2).status == "failed":
                found.hint = links.hint_with_passes(found.hint, self.report.passes)
        if isinstance(found, AdaptrtError) and not isinstance(found, UsageError):
            found.hint = "\n".join(filter(None, [found.hint, self.earlier_files()])) or None
        hint = found.hint if isinstance(found, AdaptrtError) else None
        self.report.status = "failed"
        for link in self.report.links:
            if link.status == "not run" and not link.reason:
                link.reason = f"an earlier stage failed ({self.stage})"
        self.report.files.clear()
        self.report.failure = Failure(type(found).__name__, message, hint, self.stage)
        if isinstance(found, AdaptrtError):
            record_diagnosis(self, found)
            found.report = self.report
        return found

    def notify_finished(self) -> None:
        """Notify plugins and the observer. An error in a plugin never hides why the conversion failed."""
        try:
            if hasattr(self, "ctx"):
                self.hooks.conversion_finished(self.ctx, self.report)
        except (AdaptrtError, OSError) as error:
            message = error.message if isinstance(error, AdaptrtError) else str(error)
            if self.report.status == "failed":
                self.warn(message)
                return
            files = ", ".join(record.path for record in self.report.files.values())
            late = PluginError(message, hint=f"The files were written: {files}")
            late.report = self.report
            raise late from error
        finally:
            self.observer.finished(self.report)


class Stages(Protocol):
    """The stages of a job: a conversion or a build."""

    def run(self) -> None:
        """Run all stages; publish the files at the end."""
        ...


def run_job(
    stages: Callable[[Job], Stages],
    request: Request,
    observer: Observer | None,
    documents: Documents | None,
    *,
    adapter: str | None,
    report_suffix: str = ".report",
    from_model: bool = True,
) -> Report:
    """Run a job. Plugins and the observer are notified of its end in every case; partial results are removed."""
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
    destination = destination_of(request)
    # the name is taken first: a second conversion to it is an error, although it would have to wait
    with opened(destination) as workdir, process_wide() if from_model else nullcontext(), inductor_cache(workdir):
        session, settings = open_session(adapter, request.plugins_file)
        job = Job(
            request=request,
            report=report,
            observer=LoggingObserver(observer or Observer()),
            session=session,
            settings=settings,
            workdir=workdir,
            destination=destination,
            documents=documents,
            report_suffix=report_suffix,
            from_model=from_model,
        )
        try:
            stages(job).run()
        except BaseException as error:
            failure = job.failed(error)
            job.notify_finished()
            if failure is error:
                raise
            raise failure from error
        finally:
            job.runners.close()
        job.notify_finished()
    return report
