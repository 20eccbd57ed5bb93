"""``adaptrt tune``: the sensitivity of each block, and the cheapest precision of each within a limit of the loss."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import UsageError, VerificationError, in_shell
from adaptrt.pipeline.artifacts import Artifact, onnx_artifact, open_artifact
from adaptrt.pipeline.calibration import CalibrationImages, calibration_data, choose_images
from adaptrt.pipeline.job import Documents, Job, run_job
from adaptrt.pipeline.observer import Observer
from adaptrt.pipeline.tuning.latency import Configuration, measure_latencies
from adaptrt.pipeline.tuning.measuring import divided, relative_error
from adaptrt.pipeline.tuning.records import HALF, QUANTIZED, relative_cost, tuning_record
from adaptrt.pipeline.tuning.request import TuneRequest
from adaptrt.pipeline.tuning.search import Candidate, search
from adaptrt.pipeline.verification.batching import fill_batch, smallest_batch
from adaptrt.pipeline.verification.by_metric import (
    MOST_WITHOUT_LABELS,
    MetricVerification,
    VerificationImages,
    has_predictions,
    labeled_images,
    require_disjoint,
    unlabeled_images,
)
from adaptrt.report import FileRecord, Report
from adaptrt.specs import ModelSpec, precision_named
from adaptrt.specs.calibration import CalibrationRequest
from adaptrt.specs.precisions import FP32
from adaptrt.specs.recipe import Recipe
from adaptrt.specs.tuning import PointRecord
from adaptrt.spread import spread
from adaptrt.store.hashing import file_sha256

if TYPE_CHECKING:
    from adaptrt.quantization import Calibrated
    from adaptrt.quantization.blocks import Block
    from adaptrt.specs import Precision

OUTPUTS = "not part of tuning: see the table of losses"


def tune(request: TuneRequest, observer: Observer | None = None, documents: Documents | None = None) -> Report:
    """Search, and write the recipe with its report; nothing is written if no configuration keeps the limit."""
    return run_job(
        lambda job: TuneJob(job=job, request=request),
        request,
        observer,
        documents,
        adapter=None,
        report_suffix=".tune.report",
        from_model=False,
    )


@dataclass(kw_only=True)
class TuneJob:
    """The stages of a search, one method each."""

    job: Job
    request: TuneRequest
    points: list[PointRecord] = field(default_factory=list)

    def run(self) -> None:
        job, source = self.job, Path(self.request.source)
        job.begin()
        for link in range(6):
            job.not_run(link, OUTPUTS)
        job.require_possible()
        with job.timed("read") as stage:
            spec = self.read(source)
            stage.note = f"{len(self.judge.images.examples)} images"
        with job.timed("calibrate"):
            calibrated = self.calibrate(source, spec)
        with job.timed("blocks") as stage:
            self.prepare(calibrated, spec)
            stage.note = f"{len(self.blocks)} blocks"
        with job.timed("sensitivity", verifying=True):
            self.measure_blocks(spec)
        with job.timed("search", verifying=True) as stage:
            holds = self.search(spec)
            stage.note = f"{len(self.points)} configurations measured"
        recipe = self.recipe(holds)
        if self.request.latency and holds:
            measure_latencies(job, spec, self.calibrated, self.images[0], self.configurations(recipe))
        self.record(recipe, holds)
        job.finish()

    def read(self, source: Path) -> ModelSpec:
        """The spec of the file, and the images: to score on, and others to calibrate on."""
        job, request = self.job, self.request
        file = job.onnx.outline(source)
        spec = file.spec
        if spec is None or not has_predictions(job.precision, spec):
            raise UsageError(
                f"{source.name} contains no preprocessing and no decoder, so its predictions cannot be compared.",
                hint=f"Write a copy that does: adaptrt adopt {in_shell(source)} -o new.onnx",
            )
        job.report.spec, job.report.opset = spec, file.opset
        job.report.operators["final"] = dict(file.operators.most_common())
        calibration = CalibrationImages()
        if request.data is not None:
            images = labeled_images(request.data, spec)
        else:
            assert request.images is not None
            images = VerificationImages(
                unlabeled_images(
                    choose_images(CalibrationRequest(request.images, images=MOST_WITHOUT_LABELS), hold_back=False).used
                ).dataset
            )
        calib = request.calibration
        if calib is None:
            images, calibration = divided(images)
            calib = CalibrationRequest(request.images or request.data.source)  # type: ignore[union-attr]
            job.report.notes.append(
                f"calibrated on {len(calibration.used)} of the images, which do not count (--calib names others)"
            )
        elif calib.source.suffix.lower() != ".npz":
            calibration = choose_images(calib, hold_back=False, warn=job.warn)
        require_disjoint(calibration.hashes, images.paths)
        job.judge = MetricVerification(
            images=images,
            hooks=job.hooks,
            spec=spec,
            open_reference=lambda: job.runners.open(onnx_artifact(source, FP32), job.request),
            progress=job.observer.stage_progress,
        )
        job.calibration = calibration_data(calib, spec, job.hooks.preprocess, calibration)
        job.request = replace(job.request, calibration=calib)
        job.ctx = replace(job.ctx, request=job.request, calibration=job.calibration)
        return spec

    @property
    def quantized(self) -> Precision | None:
        """The precision of quantized layers, if the search is about one."""
        return self.job.precision if self.job.precision.form == "qdq" else None

    @property
    def half_precision(self) -> Precision:
        """That of everything else that is not float32."""
        return self.job.precision if self.quantized is None else precision_named(self.quantized.rest)

    @property
    def judge(self) -> MetricVerification:
        assert self.job.judge is not None
        return self.job.judge

    def calibrate(self, source: Path, spec: ModelSpec) -> Calibrated:
        """Ranges of every activation that may be quantized, those of attention, Softmax and normalizations included."""
        from adaptrt.graph.model_file import graph_of, node_name
        from adaptrt.quantization import LayerPatterns, calibrate
        from adaptrt.quantization.blocks import SINGLE
        from adaptrt.quantization.placement import products

        job, calib = self.job, self.job.request.calibration
        assert calib is not None
        assert job.calibration is not None
        model = graph_of(source, job.onnx)
        single = [node_name(node) for node in model.graph if node.op_type in SINGLE]
        also = [f"^{re.escape(name)}$" for name in (*products(model), *single)]
        found = calibrate(
            source, spec, job.calibration, job.workdir, method=calib.method, cache=calib.cache,
            patterns=LayerPatterns(keep_fp32=self.request.keep_fp32, keep_fp16=self.request.keep_fp16, also=also),
            custom_ops=self.request.ort_custom_ops, files=job.onnx, progress=job.observer.stage_progress,
        )  # fmt: skip
        for warning in found.found.warnings:
            job.warn(warning)
        return found

    def prepare(self, calibrated: Calibrated, spec: ModelSpec) -> None:
        """The blocks, and what the outputs are on the images that each block is measured on."""
        from adaptrt.graph.model_file import node_name
        from adaptrt.quantization.blocks import make_blocks
        from adaptrt.quantization.mixed import half_nodes
        from adaptrt.quantization.statistics import Activations

        self.calibrated, self.half = calibrated, half_nodes(calibrated.model, self.half_precision, spec)
        values = {
            str(value.name): value.dtype
            for node in calibrated.model.graph
            for value in node.outputs
            if value.dtype is not None and value.dtype.name == "FLOAT"
        }
        self.images = self.read_images(spec)
        smallest = smallest_batch(spec)
        self.samples = [fill_batch([image], smallest) for image in self.images]
        self.job.ctx = replace(self.job.ctx, samples=tuple(self.samples))
        activations = Activations(calibrated.model, list(values), self.job.workdir, self.request.ort_custom_ops)
        elements = activations.sizes(self.samples[0])
        self.blocks = make_blocks(
            calibrated.model, calibrated.found.placement, self.half, elements, self.request.blocks
        )
        self.all_names = [node_name(node) for node in calibrated.model.graph]
        self.reference = [self.run_file(self.judge.open_reference(), sample) for sample in self.samples]

    def read_images(self, spec: ModelSpec) -> list[Mapping[str, Any]]:
        """The images that each block is measured on, preprocessed, each alone."""
        from adaptrt.vision.images import read_image

        paths = spread(self.judge.images.paths, self.request.sensitivity_images)
        return [self.job.hooks.preprocess(read_image(path, spec.image_channels), spec)[0] for path in paths]

    def run_file(self, runner: Any, sample: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.array(value) for name, value in runner.run(sample).items()}

    def measure_blocks(self, spec: ModelSpec) -> None:
        """The error of the outputs with one block in int8, or in half precision."""
        self.errors: dict[str, dict[str, float]] = {}
        total = len(self.blocks)
        for done, block in enumerate(self.blocks, 1):
            self.job.observer.stage_progress(done, total, block.name)
            found = self.errors[block.name] = {}
            if block.layers and self.quantized is not None:
                found[QUANTIZED] = self.error(spec, block.layers, ())
            if block.nodes:
                found[HALF] = self.error(spec, (), block.nodes)

    def error(self, spec: ModelSpec, int8: Collection[str], half: Collection[str]) -> float:
        """The largest error of a group of outputs: its root mean square, relative to how much the group varies."""
        with self.opened(int8, half) as runner:
            found = [self.run_file(runner, sample) for sample in self.samples]
        return relative_error(spec, self.reference, found)

    def opened(self, int8: Collection[str], half: Collection[str]) -> Any:
        from contextlib import closing

        from adaptrt.quantization.mixed import write_mixed

        path = self.job.workdir / "mixed.onnx"
        write_mixed(self.calibrated, path, set(int8), set(half))
        artifact = Artifact(
            name="mixed", path=path, precision=self.job.precision, backend=onnx_artifact(path, FP32).backend
        )
        return closing(open_artifact(artifact, self.job.request))

    def search(self, spec: ModelSpec) -> bool:
        """First what has to stay float32 in a half-precision graph, then what has to stay out of int8."""
        half = [
            Candidate(block.name, self.errors[block.name][HALF], block.operations)
            for block in self.blocks
            if block.nodes
        ]
        self.float32, holds = search(
            half, lambda kept: self.measure(spec, self.half_precision, kept), self.request.max_loss
        )
        quantized = self.quantized
        if quantized is None or not holds:
            self.not_int8: frozenset[str] = frozenset()
            return holds
        layers = [
            Candidate(block.name, self.errors[block.name][QUANTIZED], block.operations)
            for block in self.blocks
            if block.quantizable
        ]
        self.not_int8, holds = search(layers, lambda kept: self.measure(spec, quantized, kept), self.request.max_loss)
        return holds

    def measure(self, spec: ModelSpec, precision: Precision, kept: frozenset[str]) -> float:
        """The loss of a configuration on every image: ``kept`` blocks float32 in fp16, or fp16 in int8."""
        name, quantizes = precision.name, precision.form == "qdq"
        float32 = self.float32 if quantizes else kept
        layers, half = self.names_of(float32, kept if quantizes else None)
        with self.opened(layers, half) as runner:
            loss = self.judge.loss(runner, spec, precision, self.job.metrics)
        title = f"{name}, {len(kept)} of {len(self.blocks)} blocks kept" if kept else f"{name} everywhere"
        self.points.append(
            PointRecord(
                title,
                name,
                sorted(kept),
                loss.measured,
                self.cost(float32, kept if quantizes else None),
                confidence=loss.confidence,
            )
        )
        self.job.observer.detail(f"{title}: {loss.judged:.2f} points")
        return loss.judged

    def names_of(self, float32: frozenset[str], not_int8: frozenset[str] | None) -> tuple[set[str], set[str]]:
        """Names of the layers in int8 and of the nodes in half precision; ``not_int8`` ``None``: nothing is quantized."""
        half = set(self.half)
        layers: set[str] = set()
        for block in self.blocks:
            if block.name in float32:
                half -= set(block.nodes)
            elif not_int8 is not None and block.quantizable and block.name not in not_int8:
                layers |= set(block.layers)
        return layers, half

    def cost(self, float32: frozenset[str], not_int8: frozenset[str] | None) -> float:
        total = sum(block.operations for block in self.blocks) or 1.0
        return (
            sum(relative_cost(self.precision_of(block, float32, not_int8)) * block.operations for block in self.blocks)
            / total
        )

    def precision_of(self, block: Block, float32: frozenset[str], not_int8: frozenset[str] | None) -> str:
        if block.name in float32:
            return FP32.name
        quantized = not_int8 is not None and block.quantizable and block.name not in not_int8
        return self.quantized.name if quantized and self.quantized is not None else self.half_precision.name

    def recipe(self, holds: bool) -> Recipe:
        """The configuration that was found, as patterns of names."""
        from adaptrt.quantization.blocks import pattern_of

        quantizes = self.job.precision.form == "qdq"
        trained = {name for block in self.blocks if block.quantizable for name in block.layers}
        products = set(self.product_names())
        keep32, keep16, also = [], [], []
        for block in self.blocks:
            found = precision_named(self.precision_of(block, self.float32, self.not_int8 if quantizes else None))
            if not found.reduced:
                keep32.append(pattern_of((*block.layers, *block.nodes), self.all_names, block.name))
            elif found.form == "qdq" and set(block.layers) <= products:
                also.append(pattern_of(block.layers, self.all_names))
            elif quantizes and found.form == "cast" and set(block.layers) & trained - products:
                keep16.append(pattern_of(block.layers, trained, block.name))
        final = self.points[-1] if not holds else self.chosen()
        return Recipe(
            self.job.precision.name,
            (*self.request.keep_fp32, *keep32),
            (*self.request.keep_fp16, *keep16),
            tuple(also),
            {
                "model": Path(self.request.source).name,
                "images": len(self.judge.images.examples),
                "max-loss": self.request.max_loss,
                "loss": round(final.judged, 3),
                "cost": round(final.cost, 3),
            },
        )

    def chosen(self) -> PointRecord:
        """The measured point that the recipe stands for."""
        kept = self.not_int8 if self.job.precision.form == "qdq" else self.float32
        return next(
            point
            for point in reversed(self.points)
            if point.precision == self.job.precision.name and point.kept == sorted(kept)
        )

    def product_names(self) -> list[str]:
        from adaptrt.quantization.placement import products

        return products(self.calibrated.model)

    def configurations(self, recipe: Recipe) -> list[Configuration]:
        """What is built and timed: everything in fp16, everything in int8, and the recipe."""
        chosen, found = self.chosen(), []
        for point in self.points:
            if point is chosen or not point.kept:
                quantizes = precision_named(point.precision).form == "qdq"
                float32 = self.float32 if quantizes else frozenset(point.kept)
                layers, _ = self.names_of(float32, frozenset(point.kept) if quantizes else None)
                keep = recipe.keep_fp32 if quantizes or point is chosen else self.request.keep_fp32
                found.append(Configuration(point, layers, keep))
        return found

    def warn_if_slower(self) -> None:
        """Name a recipe that is not faster than fp16."""
        half = [
            point.milliseconds
            for point in self.points
            if point.milliseconds and precision_named(point.precision).form == "cast"
        ]
        mine = self.chosen().milliseconds
        if self.job.precision.form == "qdq" and half and mine is not None and mine >= min(half):
            name = self.half_precision.name
            self.job.warn(
                f"The recipe takes {mine:.3f} ms and {name} {min(half):.3f} ms, so it is not recommended: use --precision {name}."
            )

    def record(self, recipe: Recipe, holds: bool) -> None:
        job, request = self.job, self.request
        job.report.tuning = tuning_record(self, recipe, holds)
        if not holds:
            best = min(point.judged for point in self.points)
            raise VerificationError(
                f"No configuration keeps the loss within {request.max_loss:g} points: the least is {best:.2f}.",
                hint="Allow more with --max-loss, or use --precision fp16 or fp32.",
            )
        self.chosen().chosen = True
        self.warn_if_slower()
        path = job.workdir / "recipe.toml"
        path.write_text(recipe.text(), encoding="utf-8")
        target = request.recipe or job.destination.path(".recipe.toml")
        job.files[target] = path
        job.report.files["recipe"] = FileRecord(str(target), path.stat().st_size, file_sha256(path))
