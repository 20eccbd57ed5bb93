"""The conversion, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.backends.choice import target_for, target_of, targets_of
from adaptrt.errors import PatchError, VerificationError
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact, emulated, onnx_artifact, runs_as_it_is
from adaptrt.pipeline.build_stage import Builds
from adaptrt.pipeline.decoder_options import split_request_options, with_decoder_options
from adaptrt.pipeline.diagnosis import Compared
from adaptrt.pipeline.embedding import EmbeddedPreprocessing
from adaptrt.pipeline.job import Documents, Job, run_job
from adaptrt.pipeline.names import name_inputs
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.output import kind_of
from adaptrt.pipeline.preflight import require_images
from adaptrt.pipeline.quantizing import read_images
from adaptrt.pipeline.recognize import load_model
from adaptrt.pipeline.reduced import ReducedPrecision
from adaptrt.pipeline.spec_checks import require_convertible, require_decodable
from adaptrt.pipeline.verification.extended import verify_extended
from adaptrt.pipeline.verification.image_links import ImageLinks
from adaptrt.pipeline.verification.reference_run import ReferenceRun, narrowed, require_untouched
from adaptrt.pipeline.verification.samples import trace_shapes
from adaptrt.pipeline.verification.verify import Verification, compare_samples, verify
from adaptrt.quantities import counted
from adaptrt.report import Report
from adaptrt.request import NmsRequest, Request
from adaptrt.specs import ModelSpec
from adaptrt.specs.backend_calls import expression_of
from adaptrt.specs.backend_parts import KeepsManifest
from adaptrt.specs.precisions import FP32

if TYPE_CHECKING:
    import onnx_ir
    from torch import nn

    from adaptrt.export.state import Fingerprint
    from adaptrt.plugins.facade import Contributed


def convert(request: Request, observer: Observer | None = None, documents: Documents | None = None) -> Report:
    """Run a conversion. Output files are published only if it succeeds, all or none.

    ``documents`` renders a finished report into the given folder and returns the files by suffix
    (``{".report.html": path}``); they are published with the rest. Raises an ``AdaptrtError`` whose ``report``
    attribute holds the results so far.
    """
    return run_job(lambda job: ConversionJob(job=job), request, observer, documents, adapter=request.adapter)


@dataclass(kw_only=True)
class ConversionJob:
    """The stages of a conversion, one method each; what it shares with a build is in ``job``."""

    job: Job

    narrowed: bool = False  # whether a float64 model is exported as float32
    in_context: bool | None = None  # whether the model calls anything that exporting changes, once it was watched
    nms: NmsRequest | None = None  # what is appended to the graph

    def run(self) -> None:
        self.job.begin()
        decoder_options = self.open_options()
        self.job.require_possible()
        self.job.require_buildable()
        if self.take_from_cache():
            return
        require_images(self.job.request)
        from adaptrt.export.state import changed, fingerprint, written_parts

        with self.job.timed("load") as stage:
            model = load_model(self.job.hooks, self.job.ctx)
            if any(module.training for module in model.modules()):
                model.eval()
            stage.note = type(model).__name__
        with self.job.timed("spec"):
            spec = self.make_spec(model, decoder_options)
        with self.job.timed("reference", verifying=True) as stage:
            loaded = fingerprint(model)
            run = ReferenceRun(job=self.job, model=model)
            spec, reference = run.run(spec), run.runner
            read_images(self.job, spec, lambda: reference)
            first = self.job.samples[0]
            require_decodable(self.job.hooks, spec, first.inputs, first.reference)
            stage.note = counted(len(self.job.samples), "sample")
            before = fingerprint(model)
            # running the model may leave state on it; that is not a modification
            cached = written_parts(changed(loaded, before))
            if cached:
                run.note_state_that_is_read(cached)
                before = fingerprint(model)
                cached = written_parts(changed(loaded, before))
        self.job.report.spec = spec
        ImageLinks(job=self.job, reference=reference, spec=spec).compare_with_framework()
        require_untouched(before, untouched := fingerprint(model), "before the hook patches was called", cached)
        exported = self.export(model, spec, untouched, cached)
        require_untouched(before, fingerprint(model), "during the export", cached, exporting=True)
        graph, spec = self.rewrite(exported, spec)
        float32 = onnx_artifact(self.job.workdir / "model.onnx", FP32)
        with self.job.timed("write"):
            from adaptrt.graph.model_file import write_model

            write_model(graph, float32.path, spec)
            self.job.onnx.release()
            if (
                self.job.ctx.reduced_graph
                or self.job.precision.form == "qdq"
                or self.nms is not None
                or self.job.request.embed_preprocess
            ):
                self.job.onnx.hold(float32.path, graph)
            if self.job.writes_onnx:
                self.job.add_file("onnx", float32.path, ".onnx")
            del graph
        self.job.report.spec = spec
        self.verify_onnx(float32, spec)
        reduced = ReducedPrecision(job=self.job).write(float32, spec)
        raw, runs = spec, True
        if self.job.request.embed_preprocess:
            float32, reduced, spec = EmbeddedPreprocessing(job=self.job, raw=raw).embed(float32, reduced)
            verify_extended(self.job, float32, spec, "preprocessing")
        if self.nms is not None:
            from adaptrt.pipeline.graph_nms import GraphNms

            float32, reduced, spec = GraphNms(job=self.job, raw=spec).append(float32, reduced)
            runs = self.verify_selection(float32, spec)
        builds = Builds(job=self.job)
        results: Sequence[Artifact] = builds.build(reduced, float32, spec)
        if not results and runs and self.job.request.verify != "none":
            as_it_is = runs_as_it_is(reduced, self.job.request)
            results = [reduced if as_it_is else emulated(reduced, self.job.workdir, self.job.onnx)]
        self.compare_predictions(ImageLinks(job=self.job, reference=reference, spec=raw), results, spec)
        builds.add_files(float32)
        self.job.finish()

    def take_from_cache(self) -> bool:
        """Take files and report from the cache; returns whether there was an entry."""
        if not self.job.request.cache:
            return False
        from adaptrt.pipeline.cache import adopt, stored_conversion
        from adaptrt.store.cache import Store

        self.job.stage = "cache"
        store = Store()
        self.job.cache_key = self.job.key()
        entry = store.find(self.job.cache_key) if self.job.cache_key else None
        if entry is None:
            return False
        with self.job.timed("cache") as stage:
            found = stored_conversion(store, entry, self.job.workdir)
            if found is None:
                stage.note = "the cache entry is damaged, converting again"
                return False
            stored, kept = found
            files = {self.job.destination.path(suffix): path for suffix, path in kept.items()}
            stage.note = "already converted: all files were taken from the cache"
        names = {suffix: self.job.destination.path(suffix) for suffix in entry.files}
        same = adopt(self.job.report, stored, names, entry.created)
        page = names.get(".report.html")
        if page is not None and not (same and self.job.documents is not None):
            del files[page]  # it has other names, or is not requested
        self.job.files = files
        self.rename_in_manifest()
        self.job.finish()
        return True

    def rename_in_manifest(self) -> None:
        """Write the file names of this conversion into cached manifests."""
        float32 = self.job.destination.path(".onnx").name
        reduced = self.job.destination.path(f".{self.job.precision.name}.onnx")
        for one in self.job.chosen:
            suffix = one.backend.suffixes[0]
            path = self.job.files.get(self.job.destination.path(suffix))
            if path is None or not one.builds or not isinstance(one.backend, KeepsManifest):
                continue
            target = target_for(one.backend, target_of(self.job.request))
            takes_reduced = expression_of(one.backend, self.job.precision, target).graph and reduced in self.job.files
            one.backend.complete_manifest(path, reduced.name if takes_reduced else float32, float32, self.job.report)
            manifest = self.job.destination.path(f"{suffix}.json")
            if manifest in self.job.files:
                self.job.add_file(kind_of(f"{suffix}.json"), self.job.files[manifest], f"{suffix}.json")

    def open_options(self) -> dict[str, Any]:
        """Fill the adapter's options; the rest belongs to the decoder, which is known once the model is loaded."""
        options, rest = split_request_options(self.job.hooks, self.job.request)
        self.job.ctx = replace(self.job.ctx, options=options)
        return rest

    def make_spec(self, model: nn.Module, decoder_options: dict[str, Any]) -> ModelSpec:
        spec = self.job.hooks.model_spec(self.job.ctx, model)
        spec, warnings = self.job.request.shapes.apply(spec)
        for warning in warnings:
            self.job.warn(warning)
        spec = name_inputs(spec, self.job.request.input_names)
        spec = with_decoder_options(spec, decoder_options, self.job.hooks, self.job.request)
        require_convertible(self.job.request, self.job.hooks, spec)
        if self.job.request.nms is not None:
            from adaptrt.pipeline.graph_nms import appended_nms

            self.nms = appended_nms(self.job.request, spec)
        return spec

    def exported_model(self, model: nn.Module, spec: ModelSpec) -> nn.Module:
        """The model, or a float32 copy of it where it is float64 and its inputs are not."""
        from adaptrt.export.eager import is_float64

        if not is_float64(model) or any(tensor.dtype == "float64" for tensor in spec.inputs):
            return model
        self.narrowed = True
        self.job.report.notes.append(
            "The model is float64 and the file is float32. The reference outputs were computed in float64."
        )
        return narrowed(model)

    def export(self, loaded: nn.Module, spec: ModelSpec, before: Fingerprint, cached: Sequence[str]) -> Path:
        """Link 1 and the export, with the patches active in both. ``before`` is the state of the loaded model."""
        from adaptrt.export.state import fingerprint
        from adaptrt.patching import applied

        model = self.exported_model(loaded, spec)
        with self.job.timed("patches"):
            before = before if model is loaded else fingerprint(model)
            found = self.job.hooks.patches(self.job.ctx, model, spec)
            require_untouched(before, fingerprint(model), "by the hook patches", cached)
        if not found and not self.narrowed:
            self.job.not_run(1, "no patches")
        else:
            with self.job.timed("link 1", verifying=True) as stage:
                self.compare_patched(model, spec, found)
                stage.note = counted(len(found), "patch", "patches") if found else "float32 instead of float64"
        self.job.ctx = replace(self.job.ctx, samples=tuple(sample.inputs for sample in self.job.samples))
        with applied(model, found):
            self.compare_export_context(model, spec)
            with self.job.timed("export"):
                inputs = self.job.hooks.example_inputs(self.job.ctx, spec, trace_shapes(spec), 0)
                return self.job.hooks.export_onnx(self.job.ctx, model, inputs, spec)

    def compare_patched(self, model: nn.Module, spec: ModelSpec, patches: Sequence[Contributed]) -> None:
        """Link 1. The patched model runs first; how stable the original is can only be asked once the patches are undone."""
        from adaptrt.export.context import run_watched
        from adaptrt.export.eager import EagerRunner
        from adaptrt.patching import applied, require_called, warn_untested

        link, verifying = self.job.report.link(1), self.job.request.verify != "none"
        with applied(model, patches) as records:
            self.job.report.patches = records
            warn_untested(records, self.job.warn, link_1=verifying)
            runner, patched = EagerRunner(model, tuple(output.name for output in spec.outputs)), []
            error = PatchError if patches else VerificationError
            with links.guarded(link, error=error, cause=links.NARROWED_FAILS if self.narrowed else None):
                given = [sample.inputs for sample in self.job.samples]
                if verifying:
                    first, self.in_context = run_watched(lambda: runner.run(given[0]))
                    patched += [] if self.in_context else [first]
                patched += [runner.run(inputs) for inputs in given[len(patched) :]]
        require_called(records)
        if not verifying:
            return self.job.not_run(1, "--verify none")
        found, outputs = Verification(), iter(patched)
        found.checks, _ = compare_samples(lambda _: next(outputs), self.job.samples, spec, FP32, found.unstable)
        found.record(
            link,
            error=PatchError if records else VerificationError,
            hint=links.NARROWED if self.narrowed else None,
        )
        return None

    def compare_export_context(self, model: nn.Module, spec: ModelSpec) -> None:
        """Check that what exporting changes in torch does not change the eager result."""
        if self.job.request.verify == "none":
            return
        from adaptrt.export.context import run_watched
        from adaptrt.export.eager import EagerRunner
        from adaptrt.pipeline.verification.export_context import require_same_result

        with self.job.timed("export context", verifying=True):
            samples, runner = self.job.samples, EagerRunner(model, tuple(output.name for output in spec.outputs))
            if self.in_context is None:  # without patches, no run has been watched yet
                _, self.in_context = run_watched(lambda: runner.run(samples[0].inputs))
            if self.in_context:
                require_same_result(runner, samples, spec, self.job.report.link(2))

    def rewrite(self, exported: Path, spec: ModelSpec) -> tuple[onnx_ir.Model, ModelSpec]:
        """Run the graph passes; before and after them, every axis is dynamic or fixed as requested."""
        from adaptrt.backends.onnxruntime.exported import require_valid
        from adaptrt.export.torch_onnx import EXPORTER_KEY
        from adaptrt.graph.lint import annotate_sources, check_graph, read_source_locations
        from adaptrt.graph.model_file import complete_outputs, count_operators, graph_of, require_symbolic_axes
        from adaptrt.graph.run_passes import run_passes

        with self.job.timed("passes") as stage:
            graph = graph_of(exported, self.job.onnx)
            self.job.report.opset = graph.opset_imports.get("", 0)
            who = self.job.session.answered("export_onnx")
            self.job.report.exporter = graph.metadata_props.get(EXPORTER_KEY, "torchscript") if who == "core" else who
            self.job.report.operators["exported"] = count_operators(graph)
            if who != "core":
                require_valid(graph, exported, self.job.request, target_of(self.job.request))
            require_symbolic_axes(graph, spec)
            locations = read_source_locations(graph)
            passes = self.job.hooks.graph_passes(self.job.ctx, spec)
            names = iter(range(1, len(passes) + 1))
            graph, self.job.report.passes = run_passes(
                graph, passes, lambda name: self.job.observer.stage_progress(next(names), len(passes), name)
            )
            require_symbolic_axes(graph, spec)
            spec = replace(spec, outputs=complete_outputs(graph, spec))
            self.job.report.operators["final"] = count_operators(graph)
            before, after = (
                sum(counts.values())
                for counts in (self.job.report.operators["exported"], self.job.report.operators["final"])
            )
            stage.note = f"{before} to {after} nodes"
            annotate_sources(graph, locations)
            for target in targets_of(self.job.request):
                self.job.add_findings(check_graph(graph, spec, target))
        return graph, spec

    def verify_onnx(self, float32: Artifact, spec: ModelSpec) -> None:
        """Link 2: ONNX Runtime on every sample, alone and in batches."""
        if self.job.request.verify == "none":
            return self.job.not_run(2, "--verify none")
        with self.job.timed("link 2", verifying=True) as stage:
            self.job.compared = Compared(2, None, float32.path)
            self.job.runners.open(float32, self.job.request)  # if it cannot be loaded, nothing was compared
            with links.guarded(self.job.report.link(2)):
                found = verify(self.job, float32, spec)
            stage.note = found.note
            found.record(self.job.report.link(2))
        return None

    def verify_selection(self, float32: Artifact, spec: ModelSpec) -> bool:
        """Part of link 2: ONNX Runtime on the file that ends in NMS. Returns whether it can run it."""
        runs = self.job.request.verify != "none" and self.nms is not None and self.nms.kind != "efficient"
        if runs:
            verify_extended(self.job, float32, spec, "NMS")
        return runs

    def compare_predictions(self, images: ImageLinks, results: Sequence[Artifact], spec: ModelSpec) -> None:
        """Link 5. ``spec`` is that of the converted model."""
        if self.job.request.verify == "none":
            return self.job.not_run(5, "--verify none")
        if self.nms is not None and self.nms.multi_label:
            return self.job.not_run(5, "--nms-multi-label: the model's own predictions have a single class per box")
        if not results:
            return self.job.not_run(5, "ONNX Runtime does not support the plugin EfficientNMS_TRT")
        return images.compare_converted(results, spec)
