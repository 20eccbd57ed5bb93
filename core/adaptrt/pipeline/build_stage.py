"""Build with each chosen backend, and compare each result with the reference (link 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.backends.choice import Chosen, expressions, target_for, target_of
from adaptrt.errors import PluginError
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact, BuiltArtifact
from adaptrt.pipeline.diagnosis import Compared
from adaptrt.pipeline.issues import name_known_issues
from adaptrt.pipeline.output import kind_of
from adaptrt.pipeline.quantizing import judged
from adaptrt.pipeline.verification.verify import verify
from adaptrt.report import ArtifactRecord, Link
from adaptrt.specs import ModelSpec
from adaptrt.specs.backend_parts import KeepsManifest
from adaptrt.specs.backends import Backend

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job


@dataclass(kw_only=True)
class Builds:
    """The part of a job that builds; ``forms`` are the files that were built, ``elsewhere`` the names of those that cannot run here."""

    job: Job
    forms: list[BuiltArtifact] = field(default_factory=list)
    elsewhere: set[str] = field(default_factory=set)

    def build(self, reduced: Artifact, float32: Artifact, spec: ModelSpec) -> list[BuiltArtifact]:
        """Build with each backend and check link 4; returns the files that run here."""
        chosen = [one for one in self.job.chosen if one.builds]
        name_known_issues(self.job, chosen, reduced.path)
        self.job.onnx.release()
        reasons, run = [], []
        for one in chosen:
            form, reason = self.build_with(one, reduced, float32, spec)
            if form is None:
                reasons.append((one, f"no {one.suffix} file was built: {reason}"))
                continue
            self.forms.append(form)
            if self.verify_built(form, spec, several=len(chosen) > 1):
                run.append(form)
        self.conclude_built(chosen, reasons)
        return run

    def build_with(
        self, chosen: Chosen, reduced: Artifact, float32: Artifact, spec: ModelSpec
    ) -> tuple[BuiltArtifact | None, str]:
        """Build with one backend from the graph that it takes; ``None`` and the reason if nothing was built."""
        backend = chosen.backend
        target = target_for(backend, target_of(self.job.request))
        wanted = {name: one.graph for name, one in expressions(self.job.request).items()}
        # a graph that no backend requested comes from a plugin, which wants it built
        source = reduced if wanted.get(backend.name) or not any(wanted.values()) else float32
        with self.job.timed("build") as stage:
            built = self.job.hooks.build_engine(self.job.ctx, source.path, spec, self.job.precision, backend)
            if built is None:
                stage.note = (
                    backend.unavailable(target, self.job.request.build.device)
                    or "the build_engine hook returned no file"
                )
                return None, stage.note
            stage.note = built.summary
        record = ArtifactRecord(
            kind_of(backend.suffixes[0]),
            backend.name,
            self.job.precision.name,
            summary=built.summary,
            facts=dict(built.facts),
            layers=dict(built.layers),
            messages=list(built.messages),
            record=_as_data(built.record, backend),
        )
        self.job.report.artifacts.append(record)
        form = BuiltArtifact(
            name=record.name,
            path=next(iter(built.files.values())),
            precision=self.job.precision,
            backend=backend,
            chosen=chosen,
            built=built,
            source=source.path,
        )
        return form, ""

    def verify_built(self, form: BuiltArtifact, spec: ModelSpec, *, several: bool) -> bool:
        """Check link 4 for one file: every sample, alone and in batches. Returns whether the file ran."""
        job = self.job
        record = next(one for one in job.report.artifacts if one.name == form.name)
        if job.request.verify == "none":
            record.reason = job.why_unverified
            return False
        link = job.report.link(4)
        job.compared = Compared(4, form.source, form.path, onnx=form.source)
        with job.timed("link 4", verifying=True) as stage:
            with links.guarded(link):
                problem = job.runners.problem(form, job.request)
                if problem:
                    self.elsewhere.add(form.name)
                    stage.note = record.reason = problem
                    return False
                found = verify(job, form, spec, label=form.name if several else "")
                found = judged(job, form, spec, found)
            stage.note = record.reason = found.note
            part = Link(link.number, link.name)
            try:
                found.record(part)
            finally:
                record.status, record.reason, record.shortcoming = part.status, part.reason, part.shortcoming
                link.reason = part.reason
                link.checks += part.checks
                link.status = "failed" if part.status == "failed" else link.status
        return True

    def conclude_built(self, chosen: Sequence[Chosen], reasons: Sequence[tuple[Chosen, str]]) -> None:
        """Set the status of link 4: it passes if it passes for every requested file."""
        link, records = self.job.report.link(4), self.job.report.artifacts
        if not chosen:
            return self.job.not_run(4, "no file was built: none is requested with --to")
        if len(chosen) == 1:
            link.reason = reasons[0][1] if reasons else records[0].reason
        else:
            parts = [f"{record.name}: {record.reason or record.status}" for record in records]
            parts += [f"{one.suffix}: {reason}" for one, reason in reasons]
            link.reason = "; ".join(parts)
        held = not reasons and all(record.status == "passed" for record in records)
        link.status = "passed" if held else "not run"
        return None

    def add_files(self, float32: Artifact) -> None:
        """Add the files of all artifacts, and complete their manifests: after the last check, which they record."""
        for form in self.forms:
            if isinstance(form.backend, KeepsManifest):
                source, origin = self.final_name(form.source, float32), self.final_name(float32.path, float32)
                form.backend.complete_manifest(form.path, source, origin, self.job.report)
            for suffix, path in form.built.files.items():
                self.job.add_file(kind_of(suffix), path, suffix)
            if form.name in self.elsewhere:
                self.job.report.files[form.name].runs = False

    def final_name(self, path: Path, float32: Artifact) -> str:
        """The final name of an ONNX file; the source of a build keeps its name."""
        names = {path: destination.name for destination, path in self.job.files.items()}
        if path in names or path.parent != self.job.workdir:
            return names.get(path, path.name)
        suffix = ".onnx" if path == float32.path else f".{self.job.precision.name}.onnx"
        return self.job.destination.path(suffix).name


def _as_data(record: Any, backend: Backend) -> Any:
    """The JSON form of a backend's record."""
    import msgspec

    try:
        return msgspec.to_builtins(record)
    except (TypeError, ValueError) as error:
        raise PluginError(
            f"The record of backend {backend.name!r} is not JSON data: {error}.",
            hint="Use plain values and dataclasses: float(x) for a numpy scalar, array.tolist() for an array.",
        ) from error
