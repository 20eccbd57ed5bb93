"""NMS inside the graph: appended to the verified graph, then compared with NMS in numpy on the model's own outputs.

The reference stays the untouched model: links 0 to 3 compare its outputs as they are. NMS is appended afterwards, to the
float32 graph and to the reduced-precision one, so that it computes in float32 in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.backends.choice import targets_of
from adaptrt.errors import UsageError
from adaptrt.graph.nms_plan import ImageAxes, NmsPlan
from adaptrt.options import fill_options
from adaptrt.pipeline import links
from adaptrt.pipeline.artifacts import Artifact
from adaptrt.pipeline.describe_nms import CLIPPED_TO_INPUT, describe
from adaptrt.pipeline.nms_detections import (
    as_outputs,
    crowded,
    every_class,
    image_of_size,
    image_size,
    is_between,
    is_same,
)
from adaptrt.predictions import ImageMeta
from adaptrt.report import Check
from adaptrt.request import NmsRequest, Request
from adaptrt.specs import DecoderSpec, ModelSpec, OutputGroup, OutputSpec
from adaptrt.specs.decoders import decoder_of
from adaptrt.vision.decoders.candidates import Candidates, FromCandidates, detections
from adaptrt.vision.decoders.efficient_nms import schema_of
from adaptrt.vision.decoders.params import DetectionParams, class_filter
from adaptrt.vision.decoders.select import select
from adaptrt.vision.nms import largest_float32_up_to

if TYPE_CHECKING:
    from adaptrt.pipeline.job import Job
    from adaptrt.specs.layouts import BoxLayout, Part
    from adaptrt.specs.tensors import Arrays, Unit

NEARBY = 1e-4
"""Of an overlap of rotated boxes: what rounding may change, enlarged by long and thin boxes."""
_CROWDS = 4  # random sets of overlapping boxes that the appended nodes are tried on


def require_nms(request: Request, spec: ModelSpec) -> None:
    """Reject ``--nms`` for an unsupported model, before anything is exported."""
    nms = request.nms
    if nms is None:
        return
    if ends_in_nms(spec):
        if nms.kind != "cluster":
            raise UsageError(
                f"--nms {nms.kind}: the network itself ends in Cluster-NMS.",
                hint="Use --nms, whose rounds and candidates then apply to that NMS, or omit it.",
            )
        return
    decode, params = _decoding(spec)
    name = spec.decoder.name if spec.decoder else "raw"
    if getattr(params, "iou", 0.0) is None:
        raise UsageError(
            f"--nms: decoder {name!r} selects without NMS (iou=null), as end-to-end and DETR-like models do.",
            hint="Omit --nms: the outputs do not need NMS.",
        )
    if not isinstance(decode, FromCandidates) or decode.layout is None:
        raise UsageError(
            f"--nms: decoder {name!r} is not supported in a graph: NMS requires boxes and scores in input pixels.",
            hint="Omit --nms; adaptrt predict applies NMS after the network."
            if isinstance(decode, FromCandidates)
            else "Omit --nms.",
        )
    if (getattr(params, "min_size", None) or 0) > 0:
        raise UsageError(
            f"--nms: decoder {name!r} drops boxes whose sides are not above {params.min_size} pixels of the original image "  # type: ignore[attr-defined]
            "(min_size) before NMS, and the graph does not know the size of that image.",
            hint="Use --set min_size=0, or omit --nms.",
        )
    if nms.kind == "efficient" and decode.predict is not detections:
        raise UsageError(
            f"--nms efficient: the plugin does not support decoder {name!r}: it takes upright boxes, and does not return which it "
            "keeps, so that masks and keypoints are lost.",
            hint="Use --nms.",
        )
    if nms.kind == "onnx" and decode.suppress is not None:
        raise UsageError("--nms onnx: NonMaxSuppression compares upright boxes, not rotated ones.", hint="Use --nms.")


def ends_in_nms(spec: ModelSpec) -> bool:
    """Whether the network itself returns detections in the schema of EfficientNMS, as two-stage detectors do."""
    return schema_of([output.name for output in spec.outputs]) is not None


def appended_nms(request: Request, spec: ModelSpec) -> NmsRequest | None:
    """The NMS that a conversion appends to the graph; ``None`` without ``--nms``, and if the network ends in NMS."""
    return None if ends_in_nms(spec) else request.nms


@dataclass(kw_only=True)
class GraphNms:
    """The stage of a conversion that appends NMS."""

    job: Job
    raw: ModelSpec

    def append(self, float32: Artifact, reduced: Artifact) -> tuple[Artifact, Artifact, ModelSpec]:
        """Both graphs with NMS, and their spec. The samples of the job then hold the detections of the reference."""
        from adaptrt.graph.lint import check_graph
        from adaptrt.graph.model_file import count_operators, graph_of

        request = self.request
        with self.job.timed("nms") as stage:
            layout, plan = plan_nms(request, self.raw)
            spec = self.spec_of(layout, plan)
            ended = self.write(float32, spec, layout, plan, "onnx", ".onnx")
            smaller = ended
            if reduced is not float32:
                suffix = f".{self.job.precision.name}.onnx"
                smaller = self.write(reduced, spec, layout, plan, "reduced", suffix)
            graph = graph_of(ended.path, self.job.onnx)
            self.job.report.operators["final"] = count_operators(graph)
            stage.note = f"{plan.kind}, {plan.candidates} candidates"
            for target in targets_of(self.job.request):
                self.job.add_findings(check_graph(graph, spec, target))
            self.job.report.notes.append(describe(request, layout))
            if self.misses_padding(layout):
                self.job.warn(CLIPPED_TO_INPUT)
        self.job.report.spec = spec
        self.verify(spec, layout, plan)
        return ended, smaller, spec

    @property
    def request(self) -> NmsRequest:
        assert self.job.request.nms is not None
        return self.job.request.nms

    def misses_padding(self, layout: BoxLayout) -> bool:
        """Whether the decoder clips boxes to the image, and images may have padding, which the graph does not know of."""
        return layout.clip == "image" and self.raw.image is not None and self.raw.image.resize == "letterbox"

    def spec_of(self, layout: BoxLayout, plan: NmsPlan) -> ModelSpec:
        """The spec of the graph with NMS: other outputs, and the decoder that reads them."""
        from adaptrt.graph.nms import CONVERGED, SCHEMA, boxes_returned

        batch: int | str = self.raw.outputs[0].dims[0] if self.raw.outputs[0].dims else "batch"
        rows = boxes_returned([(output.name, output.dims) for output in self.raw.outputs], layout, plan)
        count, boxes, scores, labels = SCHEMA
        rotated = layout.angle is not None
        boxed = OutputGroup("boxes", "pixels") if not rotated else OutputGroup("boxes", "pixels", 2, 0, 4)
        turned = (OutputGroup("angles", "values", 2, 4, 5),) if rotated else ()
        outputs = [
            OutputSpec(count, (batch, 1), "int32"),
            OutputSpec(boxes, (batch, rows, 5 if rotated else 4), groups=(boxed, *turned)),
            OutputSpec(scores, (batch, rows), groups=(OutputGroup("scores", "scores"),)),
            OutputSpec(labels, (batch, rows), "int32"),
        ]
        for extra in layout.extras:
            unit: Unit = "pixels" if extra.name == "keypoints" else "values"
            width = _width(self.raw, extra.part)
            outputs.append(OutputSpec(extra.output, (batch, rows, width), groups=(OutputGroup(extra.name, unit),)))
        if plan.converged:
            outputs.append(OutputSpec(CONVERGED, (batch, 1), "int32"))
        outputs += [self.raw.output(name) for name in layout.kept]
        _, given = _decoding(self.raw)
        params = {
            "conf": given.conf,
            "iou": None,
            "max_det": given.max_det,
            "agnostic": given.agnostic,
            "classes": None,
            **layout.params,
            **({"clipped_to": "input"} if self.misses_padding(layout) else {}),
        }
        return replace(self.raw, outputs=tuple(outputs), decoder=DecoderSpec(layout.decoder, params))

    def write(
        self, artifact: Artifact, spec: ModelSpec, layout: BoxLayout, plan: NmsPlan, kind: str, suffix: str
    ) -> Artifact:
        import onnx_ir

        from adaptrt.graph.model_file import graph_of
        from adaptrt.graph.nms import append_nms

        path = self.job.workdir / f"{artifact.path.stem}.nms.onnx"
        model = onnx_ir.to_proto(graph_of(artifact.path, self.job.onnx))
        append_nms(model, path, layout, plan, spec)
        self.job.onnx.hold(path, onnx_ir.from_proto(model))
        if self.job.writes_onnx:
            self.job.add_file(kind, path, suffix)
        return replace(artifact, path=path)

    def verify(self, spec: ModelSpec, layout: BoxLayout, plan: NmsPlan) -> None:
        """Compare the appended nodes with NMS in numpy, on the reference's outputs and on crowded random boxes."""
        if self.job.request.verify == "none":
            return
        with self.job.timed("nms vs. numpy", verifying=True) as stage:
            expected = [
                self.select(sample.reference, plan, layout, image_size(self.raw, sample.inputs))
                for sample in self.job.samples
            ]
            if plan.kind == "efficient":
                stage.note = "not compared: ONNX Runtime does not support EfficientNMS_TRT"
            else:
                with links.guarded(self.job.report.link(2)):
                    checks, stage.note = self.compare(expected, plan, layout)
                if checks:
                    links.record_link(self.job.report.link(2), checks)
            for sample, found in zip(self.job.samples, expected, strict=True):
                kept = {name: sample.reference[name] for name in layout.kept}
                sample.reference, sample.again = (
                    {**as_outputs(found, spec, layout, converged=plan.converged), **kept},
                    None,
                )

    def compare(
        self, expected: Sequence[list[Candidates]], plan: NmsPlan, layout: BoxLayout
    ) -> tuple[list[Check], str]:
        import onnxruntime

        from adaptrt.graph.nms import nms_alone

        names = {part.output for part in layout.parts}
        shapes = [(name, _symbols(self.raw.output(name).dims)) for name in sorted(names)]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        model = nms_alone(shapes, layout, plan).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        given = [sample.reference for sample in self.job.samples]
        sizes = [image_size(self.raw, sample.inputs) for sample in self.job.samples]
        extent = sizes[0] if plan.clip is not None else None
        crowds = [crowded(given[0], layout, seed, extent) for seed in range(_CROWDS)]
        everything = [*given, *crowds]
        wanted = [*expected, *(self.select(crowd, plan, layout, sizes[0]) for crowd in crowds)]
        sizes += sizes[:1] * _CROWDS
        total = converged = same = unfinished = 0
        for number, (arrays, images) in enumerate(zip(everything, wanted, strict=True)):
            bounds = []
            if layout.angle is not None:
                bounds = [self.select(arrays, plan, layout, sizes[number], nearby=side * NEARBY) for side in (-1, 1)]
            inputs = {name: np.ascontiguousarray(arrays[name], np.float32) for name in names}
            if plan.clip is not None:
                inputs[plan.clip.input] = image_of_size(plan.clip, sizes[number])
            outputs = dict(zip([one.name for one in session.get_outputs()], session.run(None, inputs), strict=True))
            for row, found in enumerate(images):
                total += 1
                if plan.converged and not outputs["nms_converged"][row, 0]:
                    unfinished += number < len(given)
                    continue
                converged += 1
                if bounds:
                    same += is_between(outputs, row, bounds[0][row], bounds[1][row], plan.max_det)
                else:
                    same += is_same(outputs, row, found, layout)
        if unfinished:
            self.job.warn(
                f"NMS in the graph did not converge on {unfinished} of {sum(map(len, expected))} sample images: "
                f"increase --nms-rounds (now {plan.rounds}), or raise --set conf."
            )
        note = f"{converged} of {total} sets of boxes" + (" converged" if plan.converged else "")
        if not converged:
            return [], note
        check = Check(
            name="in-graph NMS identical to NumPy NMS",
            unit="share",
            value=same / converged,
            limit=1.0,
            passed=same == converged or not plan.converged,
            reason=(
                "boxes, scores, labels and order are equal on the same candidates"
                if layout.angle is None
                else f"the same boxes and order, except boxes that overlap a better one by iou within {NEARBY}: cos, sin, exp and log "
                "are rounded differently by each library"
            )
            + ("; images that did not converge are ignored" if plan.converged else ""),
            samples=converged,
            higher_is_better=True,
            kind="metric",
        )
        if not plan.converged:
            check.limit = None
        return [check], note

    def select(
        self, outputs: Arrays, plan: NmsPlan, layout: BoxLayout, size: tuple[int, int], *, nearby: float = 0.0
    ) -> list[Candidates]:
        """The decoder's own selection from the best candidates of a batch, one result for each image, which fills the input of
        this ``size``. ``nearby``: with another ``iou``, that much higher, and without ``max_det``."""
        decode, params = _decoding(self.raw)
        assert params.iou is not None
        assert isinstance(decode, FromCandidates)
        whole = decode.selection(self.raw, params)
        most = plan.candidates if nearby else params.max_det
        selection = whole._replace(classes=None, iou=params.iou + nearby, max_det=most)
        own = layout.multi_label == plan.multi_label  # else another choice of classes than the decoder's
        metas = [ImageMeta(size, size)] * len(next(iter(outputs.values())))
        batch = decode.read(outputs, metas, self.raw) if own else outputs
        found = []
        for row, meta in enumerate(metas):
            sample = {name: array[row] for name, array in batch.items()}
            candidates = decode.candidates(sample, meta, self.raw, params) if own else every_class(sample, layout)
            if decode.prepare is not None:
                candidates = decode.prepare(candidates, meta, params)
            candidates = candidates.at(np.flatnonzero(whole.confident(candidates)))
            best = candidates.at(np.argsort(-candidates.scores, kind="stable")[: plan.candidates])
            found.append(best.at(select(best, selection)))
        return found


def plan_nms(request: NmsRequest, spec: ModelSpec) -> tuple[BoxLayout, NmsPlan]:
    """Where the outputs hold boxes and scores, and what is done with them, from the parameters of the spec's decoder."""
    decode, params = _decoding(spec)
    assert isinstance(decode, FromCandidates)
    assert decode.layout is not None
    layout = decode.layout(spec)
    assert layout is not None
    classes = class_filter(params.classes, spec.labels)
    return layout, NmsPlan(
        kind=request.kind,
        conf=params.conf,
        iou=_float32_iou(params.iou if params.iou is not None else 1.0, rotated=layout.angle is not None),
        max_det=params.max_det,
        candidates=max(request.candidates, params.max_det),
        rounds=request.rounds,
        agnostic=params.agnostic,
        multi_label=request.multi_label or layout.multi_label,
        class_offset=decode.class_offset,
        classes=None if classes is None else tuple(map(int, classes)),
        converged=request.kind != "efficient" and request.schema == "converged",
        clip=_image_axes(spec) if layout.clip != "nothing" else None,
        drop_empty=layout.drop_empty,
    )


def _image_axes(spec: ModelSpec) -> ImageAxes:
    if spec.image is None:
        raise UsageError(
            "--nms: the decoder clips boxes to the image, and the model has no image input.",
            hint="Use --set clip=false.",
        )
    height, width, _ = spec.image.axes
    return ImageAxes(spec.image.input, height, width)


def _float32_iou(iou: float, *, rotated: bool) -> float:
    """The float32 that overlaps are compared with: numpy compares those of rotated boxes in float32."""
    return float(np.float32(iou)) if rotated else float(largest_float32_up_to(iou))


def _decoding(spec: ModelSpec) -> tuple[Any, DetectionParams]:
    decoder = decoder_of(spec)
    params = fill_options(decoder.params, spec.decoder.params if spec.decoder else {})
    return decoder.decode, params


def _symbols(dims: Sequence[int | str]) -> list[int | str]:
    return [size if isinstance(size, int) else str(size) for size in dims]


def _width(spec: ModelSpec, part: Part) -> int:
    if part.stop is not None:
        return part.stop - part.start
    return int(spec.output(part.output).dims[1 if part.channels_first else 2]) - part.start
