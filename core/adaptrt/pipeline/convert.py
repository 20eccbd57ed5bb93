"""The conversion, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.backends.choice import target_for, target_of, targets_of
from adaptrt.contributions import Metric
from adaptrt.errors import PatchError, VerificationError
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact, onnx_artifact, open_artifact, open_reduced
from adaptrt.pipeline.decoder_options import split_request_options, with_decoder_options
from adaptrt.pipeline.job import Documents, Job, run_job
from adaptrt.pipeline.names import name_inputs
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.output import kind_of
from adaptrt.pipeline.preflight import require_images, require_possible
from adaptrt.pipeline.verification.reference_run import ReferenceRun, narrowed, require_untouched
from adaptrt.pipeline.verification.samples import trace_shapes
from adaptrt.pipeline.verification.verify import compare_samples, verify
from adaptrt.report import Report
from adaptrt.request import Request
from adaptrt.specs import ModelSpec, Precision, task_named
from adaptrt.specs.backends import KeepsManifest
from adaptrt.specs.precisions import FP32

if TYPE_CHECKING:
    import onnx_ir
    from torch import nn

    from adaptrt.export.eager import EagerRunner
    from adaptrt.specs.runners import Runner


def convert(request: Request, observer: Observer | None = None, documents: Documents | None = None) -> Report:
    """Run a conversion. Output files are published only if it succeeds, all or none.

    ``documents`` renders a finished report into the given folder and returns the files by suffix
    (``{".report.html": path}``); they are published with the rest. Raises an ``AdaptrtError`` whose ``report``
    attribute holds the results so far.
    """
    return run_job(ConversionJob, request, observer, documents, adapter=request.adapter)


class ConversionJob(Job):
    """Each method is one stage of a conversion's life."""

    narrowed: bool = False  # whether a float64 model is exported as float32

    def run(self) -> None:
        self.begin()
        decoder_options = self.open_options()
        require_possible(self.request)
        self.require_buildable()
        if self.take_from_cache():
            return
        require_images(self.request)
        from adaptrt.export.state import attributes, changed, fingerprint, written_parts

        with self.timed("load") as stage:
            model = self.hooks.load_model(self.ctx)
            if any(module.training for module in model.modules()):
                model.eval()
            stage.note = type(model).__name__
        with self.timed("spec"):
            spec = self.make_spec(model, decoder_options)
        with self.timed("reference", verifying=True) as stage:
            loaded = fingerprint(model)
            reference, spec = ReferenceRun(self, model).run(spec)
            stage.note = f"{len(self.samples)} samples"
            before = fingerprint(model)
            cached = written_parts(changed(loaded, before))  # what running it leaves on the model is no change of it
        self.report.spec = spec
        self.compare_with_framework(reference, spec)
        require_untouched(before, fingerprint(model), "before they were asked for", cached)
        exported = self.export(self.exported_model(model, spec), spec, cached)
        require_untouched(before, fingerprint(model), "during the export", [*cached, *attributes(before)])
        graph, spec = self.rewrite(exported, spec)
        float32 = onnx_artifact(self.workdir / "model.onnx", FP32)
        with self.timed("write"):
            from adaptrt.graph.model_file import write_model

            write_model(graph, float32.path, spec)
            if self.writes_onnx:
                self.add_file("onnx", float32.path, ".onnx")
            del graph
        self.report.spec = spec
        runner = self.verify_onnx(float32, spec)
        reduced = self.reduce_precision(float32, spec)
        with self.builds.opened(reduced, float32, spec) as built:
            if runner is None:
                self.not_run(5, "--verify none")
            else:
                last = built or [(float32, runner)]
                if not built and reduced is not float32:
                    last = [(reduced, open_reduced(reduced, self.request, self.workdir))]
                self.compare_predictions(reference, last, spec)
        self.finish()

    def take_from_cache(self) -> bool:
        """Take files and report from the cache; returns whether there was an entry."""
        if not self.request.cache:
            return False
        from adaptrt.pipeline.cache import adopt, conversion_key, stored_conversion
        from adaptrt.store.cache import Store

        self.stage = "cache"
        store = Store()
        self.cache_key, _ = conversion_key(self.request, self.session, self.settings, self.sources)
        entry = store.find(self.cache_key) if self.cache_key else None
        if entry is None:
            return False
        with self.timed("cache") as stage:
            found = stored_conversion(store, entry, self.workdir)
            if found is None:
                stage.note = "the cache entry is damaged: converted again"
                return False
            stored, kept = found
            files = {self.destination.path(suffix): path for suffix, path in kept.items()}
            stage.note = "already converted: all files come from the cache"
        names = {suffix: self.destination.path(suffix) for suffix in entry.files}
        same = adopt(self.report, stored, names, entry.created)
        page = names.get(".report.html")
        if page is not None and not (same and self.documents is not None):
            del files[page]  # it has other names, or is not requested
        self.files = files
        self.rename_in_manifest()
        self.finish()
        return True

    def rename_in_manifest(self) -> None:
        """Write the file names of this conversion into cached manifests."""
        float32 = self.destination.path(".onnx").name
        reduced = self.destination.path(f".{self.precision.name}.onnx")
        for one in self.chosen:
            suffix = one.backend.suffixes[0]
            path = self.files.get(self.destination.path(suffix))
            if path is None or not one.builds or not isinstance(one.backend, KeepsManifest):
                continue
            target = target_for(one.backend, target_of(self.request))
            takes_reduced = one.backend.express(self.precision, target).graph and reduced in self.files
            one.backend.complete_manifest(path, reduced.name if takes_reduced else float32, float32, self.report)
            manifest = self.destination.path(f"{suffix}.json")
            if manifest in self.files:
                self.add_file(kind_of(f"{suffix}.json"), self.files[manifest], f"{suffix}.json")

    def open_options(self) -> dict[str, Any]:
        """Fill the adapter's options; the rest belongs to the decoder, which is known once the model is loaded."""
        options, rest = split_request_options(self.hooks, self.request)
        self.ctx = replace(self.ctx, options=options)
        return rest

    def make_spec(self, model: nn.Module, decoder_options: dict[str, Any]) -> ModelSpec:
        spec = self.hooks.model_spec(self.ctx, model)
        if spec.decoder is not None:
            from adaptrt.specs.decoders import find_decoder

            find_decoder(spec.decoder.name)  # a missing decoder should be reported before minutes are spent
        spec, warnings = self.request.shapes.apply(spec)
        for warning in warnings:
            self.warn(warning)
        spec = name_inputs(spec, self.request.input_names)
        return with_decoder_options(spec, decoder_options, self.hooks, self.request)

    def compare_with_framework(self, reference: EagerRunner, spec: ModelSpec) -> None:
        """Link 0: the framework's own inference pipeline and adaptrt agree on a real image."""
        if self.request.verify == "none":
            return self.not_run(0, "--verify none")
        images = self.images()
        if not images:
            return self.not_run(0, "no --image")
        with self.timed("link 0", verifying=True):
            expected = self.hooks.framework_predictions(self.ctx, images[0], spec)
            if expected is None:
                return self.not_run(0, f"not available: adapter {self.request.adapter} has no framework predictions")
            actual = self.predictions(reference, spec, images[0], "eager")
            record = links.image_record(self.report.images, images[0])
            task = task_named(spec.task)
            record.predictions["framework"] = links.record_prediction(expected, task)
            if links.found_nothing([expected, actual], task):
                return self.not_run(0, task.empty_reason)
            checks = links.compare_predictions(self.metrics(spec, FP32), [expected], [actual], spec)
            if not checks:
                return self.not_run(0, f"no metric for task {spec.task!r}")
            links.record_link(self.report.link(0), checks)
        return None

    def exported_model(self, model: nn.Module, spec: ModelSpec) -> nn.Module:
        """The model, or a float32 copy of it where it is float64 and its inputs are not."""
        from adaptrt.export.eager import is_float64

        if not is_float64(model) or any(tensor.dtype == "float64" for tensor in spec.inputs):
            return model
        self.narrowed = True
        self.report.notes.append("The model is float64, and the file is float32: the reference was taken in float64.")
        return narrowed(model)

    def export(self, model: nn.Module, spec: ModelSpec, cached: Sequence[str]) -> Path:
        """Link 1 and the export, with the patches active."""
        from adaptrt.export.eager import EagerRunner
        from adaptrt.export.state import fingerprint
        from adaptrt.patching import applied, require_called, warn_untested

        with self.timed("patches"):
            before = fingerprint(model)
            found = self.hooks.patches(self.ctx, model, spec)
            require_untouched(before, fingerprint(model), "by the hook patches", cached)
        with applied(model, found) as records:
            self.report.patches = records
            warn_untested(records, self.warn, link_1=self.request.verify != "none")
            if not records and not self.narrowed:
                self.not_run(1, "no patches")
            else:
                with self.timed("link 1", verifying=True) as stage:
                    runner = EagerRunner(model, tuple(output.name for output in spec.outputs))
                    with links.guarded(self.report.link(1), error=PatchError):
                        checks, _ = compare_samples(runner.run, self.samples, spec, FP32)
                    require_called(records)
                    counts = [record.calls for record in records]
                    stage.note = f"{len(records)} patches" if records else "float32 instead of float64"
                    if self.request.verify != "none":
                        links.record_link(
                            self.report.link(1),
                            checks,
                            error=PatchError if records else VerificationError,
                            hint=links.NARROWED if self.narrowed else None,
                        )
                    else:
                        self.not_run(1, "--verify none")
            self.ctx = replace(self.ctx, samples=tuple(sample.inputs for sample in self.samples))
            self.compare_export_context(model, spec)
            with self.timed("export") as stage:
                inputs = self.hooks.example_inputs(self.ctx, spec, trace_shapes(spec), 0)
                path = self.hooks.export_onnx(self.ctx, model, inputs, spec)
            if records:
                for record, count in zip(records, counts, strict=True):
                    record.calls = count
        return path

    def compare_export_context(self, model: nn.Module, spec: ModelSpec) -> None:
        """Check that what exporting changes in torch does not change the eager result."""
        if self.request.verify == "none":
            return
        from adaptrt.pipeline.verification.export_context import require_same_result

        with self.timed("export context", verifying=True):
            require_same_result(model, self.samples, spec, self.report.link(2))

    def rewrite(self, exported: Path, spec: ModelSpec) -> tuple[onnx_ir.Model, ModelSpec]:
        """Run the graph passes; before and after them, every axis is dynamic or fixed as requested."""
        from adaptrt.backends.onnxruntime.exported import require_valid
        from adaptrt.export.torch_onnx import EXPORTER_KEY
        from adaptrt.graph.lint import annotate_sources, check_graph, read_source_locations
        from adaptrt.graph.model_file import complete_outputs, count_operators, read_model, require_symbolic_axes
        from adaptrt.graph.run_passes import run_passes

        with self.timed("passes") as stage:
            graph = read_model(exported)
            self.report.opset = graph.opset_imports.get("", 0)
            who = self.session.answered("export_onnx")
            self.report.exporter = graph.metadata_props.get(EXPORTER_KEY, "torchscript") if who == "core" else who
            self.report.operators["exported"] = count_operators(graph)
            if who != "core":
                require_valid(graph, exported, self.request, target_of(self.request))
            require_symbolic_axes(graph, spec)
            places = read_source_locations(graph)
            passes = self.hooks.graph_passes(self.ctx, spec)
            names = iter(range(1, len(passes) + 1))
            graph, self.report.passes = run_passes(
                graph, passes, lambda name: self.observer.stage_progress(next(names), len(passes), name)
            )
            require_symbolic_axes(graph, spec)
            spec = replace(spec, outputs=complete_outputs(graph, spec))
            self.report.operators["final"] = count_operators(graph)
            before, after = (
                sum(counts.values()) for counts in (self.report.operators["exported"], self.report.operators["final"])
            )
            stage.note = f"{before} to {after} nodes"
            annotate_sources(graph, places)
            for target in targets_of(self.request):
                self.add_findings(check_graph(graph, spec, target))
        return graph, spec

    def verify_onnx(self, float32: Artifact, spec: ModelSpec) -> Runner | None:
        """Link 2: ONNX Runtime on every sample, alone and in batches."""
        if self.request.verify == "none":
            self.not_run(2, "--verify none")
            return None
        with self.timed("link 2", verifying=True) as stage:
            runner = open_artifact(float32, self.request)
            with links.guarded(self.report.link(2)):
                found = verify(runner, float32, self.samples, spec, self.request.verify)
            stage.note = found.note
            found.record(self.report.link(2))
        return runner

    def compare_predictions(
        self, reference: EagerRunner, results: Sequence[tuple[Artifact, Runner]], spec: ModelSpec
    ) -> None:
        """Link 5: the converted model's predictions on real images match the reference's."""
        images = self.images()
        if not images:
            return self.not_run(5, "no --image")
        with self.timed("link 5", verifying=True) as stage:
            task = task_named(spec.task)
            expected = [self.predictions(reference, spec, path, "eager") for path in images]
            checks, nothing = [], True
            for artifact, runner in results:
                actual = [self.predictions(runner, spec, path, runner.backend) for path in images]
                found = links.compare_predictions(self.metrics(spec, artifact.precision), expected, actual, spec)
                for check in found:
                    check.artifact = artifact.name if len(results) > 1 else ""
                checks += found
                stage.note = "; ".join(map(task.describe, actual))
                nothing = nothing and links.found_nothing([*expected, *actual], task)
            if not checks:
                return self.not_run(5, f"no metric for task {spec.task!r}")
            if nothing:
                return self.not_run(5, task.empty_reason)
            links.record_link(self.report.link(5), checks)
        return None

    def metrics(self, spec: ModelSpec, precision: Precision) -> list[Metric]:
        """Metrics with the limits of the compared file's precision, which may differ from the requested one."""
        return [found.item for found in self.hooks.metrics(self.ctx, spec, precision)]

    def predictions(self, runner: Runner, spec: ModelSpec, path: Path, backend: str) -> Any:
        from adaptrt.vision.images import read_image

        prediction = links.predict(runner, read_image(path), self.hooks.preprocess, self.hooks.postprocess, spec)
        record = links.record_prediction(prediction, task_named(spec.task))
        links.image_record(self.report.images, path).predictions[backend] = record
        return prediction
