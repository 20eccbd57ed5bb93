"""The stage that writes the reduced-precision graph and compares it with the reference (link 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adaptrt.backends.choice import targets_of
from adaptrt.errors import PluginError
from adaptrt.onnxfile.node_rules import require_quantized
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact, emulated, runs_as_it_is, why_float32
from adaptrt.pipeline.diagnosis import Compared
from adaptrt.pipeline.quantizing import judged
from adaptrt.pipeline.verification.verify import Verification, verify
from adaptrt.specs import ModelSpec

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job


@dataclass(kw_only=True)
class ReducedPrecision:
    """The part of a job that gives the graph its precision."""

    job: Job

    def write(self, float32: Artifact, spec: ModelSpec) -> Artifact:
        """The graph in the requested precision, compared within that precision's tolerances; ``float32`` if it stays as it is."""
        job = self.job
        samples = tuple(sample.inputs for sample in job.samples)
        job.ctx = replace(job.ctx, samples=samples, calibration=job.calibration)
        hook = "reduce_precision"
        with job.timed("types") as stage:
            path = float32.path
            if job.precision.form == "qdq":
                path = job.hooks.quantize(job.ctx, path, spec, job.precision)
                hook = "quantize" if path != float32.path else hook
            path = job.hooks.reduce_precision(job.ctx, path, spec, job.precision)
            outline = job.onnx.outline(path)
            require_quantized(outline, job.precision)
            stage.note = job.precision.name
        if path == float32.path:
            job.not_run(3, why_float32(job.request, job.precision))
            return float32
        if job.onnx.outline(float32.path).spec is not None and outline.spec is None:
            raise PluginError(
                f"{job.session.answered(hook)} returned a graph without the file's metadata from {hook}.",
                hint=f"Copy metadata_props from {float32.path.name}: it holds the spec.",
            )
        from adaptrt.graph.lint import check_reduced  # needs onnx, as what reduced the graph did

        reduced = replace(float32, name="reduced", path=path, precision=job.precision)
        if job.writes_onnx:
            job.add_file("reduced", path, f".{job.precision.name}.onnx")
            job.report.files["reduced"].runs = runs_as_it_is(reduced, job.request)
        job.add_findings(check_reduced(path, spec, targets_of(job.request), job.onnx))
        if job.request.verify == "none":
            job.not_run(3, job.why_unverified)
            return reduced
        job.compared = Compared(3, float32.path, path)
        with job.timed("link 3", verifying=True) as stage, links.guarded(job.report.link(3)):
            found = self.verify(reduced, spec)
            stage.note = found.note
        found.record(job.report.link(3))
        return reduced

    def verify(self, reduced: Artifact, spec: ModelSpec) -> Verification:
        """Check every sample. A graph with casts runs in its emulated float32 form, and one sample in the file itself."""
        job, found = self.job, Verification()
        if job.precision.form == "cast":
            found = verify(job, emulated(reduced, job.workdir, job.onnx), spec, batches=False)
        if runs_as_it_is(reduced, job.request):
            own = verify(job, reduced, spec, job.samples[:1] if found.checks else None, batches=False)
            own = judged(job, reduced, spec, own)
            if not found.checks:
                return own
            for check in own.checks:
                check.kind = "file"
            found.checks += own.checks
        return found
