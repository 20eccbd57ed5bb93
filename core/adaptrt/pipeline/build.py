"""Build an engine from any ONNX file: no adapter; the reference is the file itself in ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from adaptrt.backends.choice import chosen_backends, target_for, target_of, wants_reduced_graph, words_of
from adaptrt.errors import AdaptrtError, DependencyError, GraphError, UsageError, in_shell
from adaptrt.onnxfile.graph_spec import spec_of_graph
from adaptrt.onnxfile.node_rules import require_quantized
from adaptrt.onnxfile.reader import OnnxFile
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact, onnx_artifact
from adaptrt.pipeline.build_stage import Builds
from adaptrt.pipeline.describe_nms import CLIPPED_TO_INPUT
from adaptrt.pipeline.job import Documents, Job, run_job
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.preflight import refuse_unavailable
from adaptrt.pipeline.quantizing import read_images
from adaptrt.pipeline.reduced import ReducedPrecision
from adaptrt.report import Report
from adaptrt.request import DEFAULT_BATCH, BuildRequest
from adaptrt.specs import ModelSpec, precision_named
from adaptrt.specs.adoption import Adoption
from adaptrt.specs.backend_parts import ChecksShapes
from adaptrt.specs.precisions import FP32
from adaptrt.store.model_files import require_graph_file

_NOT_A_LINK = {
    0: "no model: the ONNX file is the reference",
    1: "no model: the ONNX file is the reference",
    2: "the ONNX file is the reference",
    5: "not part of a build",
}


def build(request: BuildRequest, observer: Observer | None = None, documents: Documents | None = None) -> Report:
    """Build an engine. Engine, manifest and reduced-precision graph (if any) are written only if every check passes.

    Raises an ``AdaptrtError`` whose ``report`` attribute holds the results so far.
    """
    require_graph_file(Path(request.source))
    return run_job(
        lambda job: BuildJob(job=job, set_dynamic_batch=request.set_dynamic_batch, adoption=request.adoption),
        request,
        observer,
        documents,
        adapter=None,
        report_suffix=".quantize.report" if _only_quantizes(request) else ".build.report",
        from_model=False,
    )


def _only_quantizes(request: BuildRequest) -> bool:
    """Whether a Q/DQ graph is all that is written: the build of an engine from it writes another report."""
    return precision_named(request.precision).form == "qdq" and not any(one.builds for one in chosen_backends(request))


@dataclass(kw_only=True)
class BuildJob:
    """The stages of a build, one method each; what it shares with a conversion is in ``job``."""

    job: Job
    set_dynamic_batch: bool
    adoption: Adoption

    def run(self) -> None:
        self.job.begin()
        source = Path(self.job.request.source)
        for link, reason in _NOT_A_LINK.items():
            self.job.not_run(link, reason)
        self.job.require_possible()
        source = self.described(source)
        self.require_quantizable(source)
        self.require_something_to_do(source)
        with self.job.timed("read") as stage:
            file = self.job.onnx.outline(source)
            onnx_path, spec = self.make_spec(source, file)
            self.check_shapes(spec, file if onnx_path == source else self.job.onnx.outline(onnx_path))
            self.job.report.spec, self.job.report.opset = spec, file.opset
            if spec.decoder is not None and spec.decoder.params.get("clipped_to") == "input":
                self.job.warn(CLIPPED_TO_INPUT)
            self.job.report.operators["final"] = dict(file.operators.most_common())
            self.require_other_precision(source, file)
            read_images(self.job, spec, lambda: self.job.runners.open(onnx_artifact(onnx_path, FP32), self.job.request))
            stage.note = f"{len(file.nodes)} nodes, opset {file.opset}"
        if self.set_dynamic_batch:
            self.verify_batch(source, onnx_path, spec)
        float32 = onnx_artifact(onnx_path, FP32)
        self.run_reference(float32, spec)
        reduced = ReducedPrecision(job=self.job).write(float32, spec)
        builds = Builds(job=self.job)
        builds.build(reduced, float32, spec)
        builds.add_files(float32)
        if not self.job.files:
            raise self.nothing_changes(source)
        self.job.finish()

    def described(self, source: Path) -> Path:
        """The file, or a copy that contains the spec that ``--decoder`` and ``--names`` describe."""
        if not self.adoption:
            return source
        from adaptrt.pipeline.adopt import add_spec, read_as

        path, said = self.job.workdir / "described.onnx", self.adoption
        if said.imgsz is None:
            said = replace(said, imgsz=self.job.request.shapes.imgsz)
        spec, found = add_spec(source, path, said, {})
        self.job.report.notes.append(f"{source.name} has no spec: {read_as(spec, found)}")
        return path

    def require_quantizable(self, source: Path) -> None:
        """For int8: Q/DQ nodes in the file, or something to calibrate on that its preprocessing is known for."""
        if self.job.precision.form != "qdq":
            return
        file, calibration = self.job.onnx.outline(source), self.job.request.calibration
        if calibration is not None and file.spec is None and calibration.source.suffix.lower() != ".npz":
            raise UsageError(
                f"{source.name} contains no preprocessing, so it cannot be calibrated on images.",
                hint="Specify the decoder of its outputs (--decoder yolo), or write a copy that contains it: adaptrt adopt "
                f"{in_shell(source)} -o new.onnx; or pass preprocessed inputs: --calib inputs.npz",
            )
        if calibration is None and not self.job.session.quantizers():
            require_quantized(file, self.job.precision)

    def require_something_to_do(self, source: Path) -> None:
        """Without a backend that builds, the only possible result is a reduced-precision graph; reject anything else early."""
        self.job.require_buildable()
        writes_graph = wants_reduced_graph(self.job.request) or self.job.request.calibration is not None
        if self.job.session.others("build_engine") or (self.job.writes_onnx and writes_graph):
            return
        builders = [one for one in self.job.chosen if one.builds]
        if not builders:
            raise UsageError(
                f"--to {words_of(self.job.chosen)} does not build anything from an ONNX file.",
                hint="Specify a backend (--to engine), or a precision that changes the graph (--precision).",
            )
        target, device = target_of(self.job.request), self.job.request.build.device
        if all(one.backend.unavailable(target_for(one.backend, target), device) for one in builders):
            if self.job.precision.form == "qdq" and self.job.request.calibration is None:
                require_quantized(self.job.onnx.outline(source), self.job.precision)  # no backend would change that
            refuse_unavailable(self.job.request, builders)

    def require_other_precision(self, source: Path, file: OnnxFile) -> None:
        """Reject a precision that the graph has already if nothing is built from it: nothing would be written or compared."""
        target, device = target_of(self.job.request), self.job.request.build.device
        if (
            self.job.precision.form != "cast"
            or self.job.precision.onnx_type not in file.weight_types
            or self.set_dynamic_batch
            or self.job.session.others("build_engine")
            or self.job.session.others("reduce_precision")
            or any(
                one.builds and not one.backend.unavailable(target_for(one.backend, target), device)
                for one in self.job.chosen
            )
        ):
            return
        raise self.nothing_changes(source)

    def nothing_changes(self, source: Path) -> UsageError:
        return UsageError(
            f"{source.name} is already in {self.job.precision.onnx_type}, so --precision {self.job.precision.name} has no effect, "
            "and no engine can be built here.",
            hint="Build it on a machine with TensorRT (see adaptrt doctor), or start from the float32 file.",
        )

    def make_spec(self, source: Path, file: OnnxFile) -> tuple[Path, ModelSpec]:
        """The file to build from, and its spec with the requested shapes."""
        source = self.with_older_opset(source, file)
        if self.set_dynamic_batch:
            source = self.with_dynamic_batch(source)
            file = self.job.onnx.outline(source)
        shapes = self.job.request.shapes
        if file.spec is None:
            if self.set_dynamic_batch and shapes.batch is None:
                shapes = replace(shapes, batch=DEFAULT_BATCH)
            return source, spec_of_graph(file, shapes)
        if self.set_dynamic_batch and shapes.batch is None and not shapes.shapes:
            shapes = replace(shapes, batch=DEFAULT_BATCH)
        spec, warnings = shapes.apply(file.spec)
        for warning in warnings:
            self.job.warn(warning)
        return source, spec

    def check_shapes(self, spec: ModelSpec, file: OnnxFile) -> None:
        """Let each backend reject unsupported shapes: first those that build, then the one that runs the reference."""
        inputs = {
            tensor.name: tuple(size if isinstance(size, int) else -1 for size in tensor.shape) for tensor in file.inputs
        }
        backends = [one.backend for one in self.job.chosen if one.builds]
        for backend in (*backends, onnx_artifact(Path(self.job.request.source), FP32).backend):
            if isinstance(backend, ChecksShapes):
                backend.check_shapes(spec, inputs)

    def with_dynamic_batch(self, source: Path) -> Path:
        try:
            from adaptrt.graph.dynamic_batch import write_dynamic_batch
        except ImportError as error:
            raise DependencyError(
                f"--set-dynamic-batch requires onnx: {error}.", hint="Install it: pip install 'adaptrt[export]'"
            ) from error
        path = self.job.workdir / "dynamic.onnx"
        write_dynamic_batch(source, path, self.job.onnx)
        if self.job.writes_onnx:
            self.job.add_file("onnx", path, ".dynamic.onnx")
        return path

    def with_older_opset(self, source: Path, file: OnnxFile) -> Path:
        """Convert the file to an older opset if the target cannot read a newer one."""
        target = target_of(self.job.request)
        newest = target.newest_opset
        if target.exporter != "torchscript" or file.opset <= newest:
            return source
        try:
            from adaptrt.graph.passes.opset17 import write_lower_opset
        except ImportError as error:
            raise DependencyError(
                f"{source.name} has opset {file.opset}, but {target.title} supports opsets up to {newest}; the conversion requires onnx: {error}.",
                hint="Install it: pip install 'adaptrt[export]'; or export with opset 17.",
            ) from error
        path = self.job.workdir / f"opset{newest}.onnx"
        write_lower_opset(source, path, self.job.onnx)
        if self.job.writes_onnx:
            self.job.add_file("onnx", path, f".opset{newest}.onnx")
        return path

    def run_reference(self, float32: Artifact, spec: ModelSpec) -> None:
        """Run ONNX Runtime on every sample, if it is installed and verification is on."""
        if self.job.request.verify == "none":
            return
        missing = " and ".join(_missing())
        if missing:
            self.job.warn(f"Verification skipped: {missing} is not installed (pip install 'adaptrt[onnx]').")
            self.job.request = replace(self.job.request, verify="none")
            self.job.ctx = replace(self.job.ctx, request=self.job.request)
            self.job.why_unverified = f"{missing} is not installed"
            return
        from adaptrt.pipeline.verification.file_reference import FileReference

        with self.job.timed("reference", verifying=True) as stage:
            runner = self.job.runners.open(float32, self.job.request)
            FileReference(job=self.job, runner=runner, operators=self.job.report.operators["final"]).run(spec)
            stage.note = f"{len(self.job.samples)} samples in ONNX Runtime"

    def verify_batch(self, source: Path, dynamic_path: Path, spec: ModelSpec) -> None:
        """Check that the dynamic-batch graph gives the same results in batches as the fixed one alone."""
        if _missing():
            raise DependencyError(
                "--set-dynamic-batch is verified in ONNX Runtime, which is not installed.",
                hint="Install it: pip install 'adaptrt[onnx]'; or export the model with a dynamic batch.",
            )
        from adaptrt.pipeline.verification.fixed_batch import check_dynamic_batch

        with self.job.timed("dynamic batch", verifying=True) as stage:
            try:
                fixed, dynamic = (
                    self.job.runners.open(onnx_artifact(path, FP32), self.job.request)
                    for path in (source, dynamic_path)
                )
                sizes = {tensor.name: tensor.shape for tensor in self.job.onnx.outline(source).inputs}
                checks, stage.note = check_dynamic_batch(fixed, dynamic, sizes, spec, self.job.request)
                links.record_link(self.job.report.link(2), checks)
            except AdaptrtError as error:
                raise GraphError(
                    f"The batch of {source.name} cannot be made dynamic: {error.message}",
                    hint="The graph fixes the batch size somewhere. Export the model again with a dynamic batch.",
                ) from error
            self.job.report.link(2).reason = stage.note


def _missing() -> list[str]:
    """The missing packages for comparing with ONNX Runtime."""
    return [name for name in ("onnxruntime", "cv2") if find_spec(name) is None]
