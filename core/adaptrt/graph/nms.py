"""Non-maximum suppression inside the graph, in the output schema of EfficientNMS.

``cluster`` is Cluster-NMS of the best candidates (``cluster_nms``). Rotated boxes need one round: their NMS is Fast NMS.

Mask coefficients, keypoints and other numbers of a box are gathered with it; prototypes of masks stay outputs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from adaptrt.errors import GraphError
from adaptrt.graph import cluster_nms
from adaptrt.graph.nms_overlaps import OverlapWriter
from adaptrt.graph.nms_plan import ImageAxes, NmsPlan
from adaptrt.onnxfile.node_rules import NMS_SCOPE
from adaptrt.specs import METADATA_KEY, ModelSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from adaptrt.specs.layouts import BoxLayout, Part

SCHEMA = ("num_dets", "det_boxes", "det_scores", "det_classes")
CONVERGED = "nms_converged"
PLUGIN = "EfficientNMS_TRT"
_PLUGIN_DOMAIN = "TRT"
_EXCLUDED = -1.0  # the score of boxes that are not candidates; the lowest confidence limit is 0


def append_nms(
    model: onnx.ModelProto, destination: Path, layout: BoxLayout, plan: NmsPlan, spec: ModelSpec | None = None
) -> None:
    """Replace the outputs of the graph by those of NMS, and write it; everything that is added computes in float32.

    ``spec`` is that of the new graph, for its metadata.
    """
    _Nms(model, layout, plan).append()
    if spec is not None:
        others = [(entry.key, entry.value) for entry in model.metadata_props if entry.key != METADATA_KEY]
        helper.set_model_props(model, {**dict(others), METADATA_KEY: spec.to_json()})
    onnx.save(model, str(destination))


def boxes_returned(outputs: Sequence[tuple[str, Sequence[int | str]]], layout: BoxLayout, plan: NmsPlan) -> int:
    """M, how many rows the outputs have."""
    model = nms_alone(outputs, layout, plan)
    scores = next(value for value in model.graph.output if value.name == SCHEMA[2])
    return int(scores.type.tensor_type.shape.dim[1].dim_value)


def nms_alone(outputs: Sequence[tuple[str, Sequence[int | str]]], layout: BoxLayout, plan: NmsPlan) -> onnx.ModelProto:
    """Only NMS, as a model that takes a network's outputs (name and shape): to be compared with NMS in numpy.

    If boxes are clipped, the model also takes the image, for its size.
    """
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
    if plan.clip is not None:
        values.append(helper.make_tensor_value_info(plan.clip.input, TensorProto.FLOAT, [None] * 4))
    passed = [helper.make_node("Identity", [name], [f"{name}_raw"]) for name, _ in outputs]
    given = [helper.make_tensor_value_info(f"{name}_raw", TensorProto.FLOAT, shape) for name, shape in outputs]
    model = helper.make_model(
        helper.make_graph(passed, "nms", values, given), opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    renamed = {name: f"{name}_raw" for name, _ in outputs}
    _Nms(model, layout, plan, renamed).append()
    return model


class _Nms(OverlapWriter):
    """Adds NMS to a model."""

    def __init__(
        self, model: onnx.ModelProto, layout: BoxLayout, plan: NmsPlan, renamed: dict[str, str] | None = None
    ) -> None:
        super().__init__(model, plan)
        self.layout = layout
        self.renamed = renamed or {}
        self.padding = 0
        self.outputs = {value.name: value for value in self.graph.output}
        self.batch = self.graph.output[0].type.tensor_type.shape.dim[0]

    def append(self) -> None:
        if self.plan.kind == "efficient":
            self._append_plugin()
            return
        boxes, scores, labels, index, box, size = self._candidates()
        better = cluster_nms.better(self, scores, index)
        if self.layout.angle is not None:
            kept, converged = self._fast(scores, self.rotated_suppressions(boxes, labels, better))
        elif self.plan.kind == "cluster":
            kept, converged = self._cluster(scores, self.suppressions(boxes, scores, labels, better))
        else:
            kept, converged = self._operator(boxes, scores, labels)
        self._write(boxes, scores, labels, box, kept, better, size, converged)

    # from the network's outputs to the best candidates

    def part(self, part: Part, *, channels_first: bool = False) -> tuple[str, int]:
        """A part as float32 [B, N, C], or [B, C, N], and C."""
        name = self.renamed.get(part.output, part.output)
        value = self.outputs.get(name)
        if value is None or len(value.type.tensor_type.shape.dim) != 3:
            raise GraphError(
                f"NMS needs an output {part.output!r} with 3 axes; the graph has {', '.join(self.outputs)}."
            )
        axis = 1 if part.channels_first else 2
        dim = value.type.tensor_type.shape.dim[axis]
        stop = part.stop if part.stop is not None else dim.dim_value
        if stop <= part.start:
            raise GraphError(f"The number of classes in output {part.output!r} is unknown.")
        found = name
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            found = self.op("Cast", found, to=TensorProto.FLOAT)
        if (part.start, stop) != (0, dim.dim_value):
            found = self.slice(found, axis, part.start, stop)
        if part.channels_first != channels_first:
            found = self.op("Transpose", found, perm=[0, 2, 1])
        return found, stop - part.start

    def boxes_in_graph(self) -> int | None:
        """How many boxes the network returns; ``None`` if that depends on the input."""
        part = self.layout.boxes
        value = self.outputs[self.renamed.get(part.output, part.output)]
        dim = value.type.tensor_type.shape.dim[2 if part.channels_first else 1]
        return dim.dim_value or None

    def scores(self) -> tuple[str, int]:
        """float32 [B, N, nc]."""
        scores, classes = self.part(self.layout.scores)
        if self.layout.objectness is not None:
            scores = self.op("Mul", scores, self.part(self.layout.objectness)[0])
        return scores, classes

    def allowed(self, classes: int) -> NDArray[np.float32]:
        """1 for each requested class, 0 for the others."""
        wanted = self.plan.classes
        return np.array([wanted is None or label in wanted for label in range(classes)], np.float32)

    def upright(self) -> tuple[str, str]:
        """Boxes float32 [B, N, 4], x1 y1 x2 y2, clipped if the plan says so, and which are candidates, bool [B, N]; "": all."""
        boxes, _ = self.part(self.layout.boxes)
        if not self.plan.adjusts_boxes:
            return boxes, ""
        boxes = self.corners(boxes)
        if self.plan.clip is not None:
            boxes = self.op("Min", self.op("Max", boxes, self.number(0)), self.image_limits(self.plan.clip))
        if not self.plan.drop_empty:
            return boxes, ""
        sides = self.op("Sub", self.slice(boxes, 2, 2, 4), self.slice(boxes, 2, 0, 2))
        return boxes, self.op("Greater", self.reduce("ReduceMin", sides, 2, keepdims=0), self.number(0))

    def corners(self, boxes: str) -> str:
        """x1 y1 x2 y2 of boxes [B, N, 4] in the form of the layout."""
        if not self.layout.centers:
            return boxes
        center, half = self.slice(boxes, 2, 0, 2), self.op("Div", self.slice(boxes, 2, 2, 4), self.number(2))
        return self.op("Concat", self.op("Sub", center, half), self.op("Add", center, half), axis=2)

    def image_limits(self, image: ImageAxes) -> str:
        """Width, height, width, height, float32 [4]; a constant if the input has a fixed size."""
        value = next((value for value in self.graph.input if value.name == image.input), None)
        if value is None:
            raise GraphError(f"NMS clips boxes to the image, but the graph has no input {image.input!r}.")
        dims = value.type.tensor_type.shape.dim
        axes = [len(dims) + image.width, len(dims) + image.height] * 2
        if all(dims[axis].dim_value for axis in axes):
            return self.constant(np.array([dims[axis].dim_value for axis in axes], np.float32))
        sizes = self.op("Gather", self.op("Shape", image.input), self.integers(axes), axis=0)
        return self.op("Cast", sizes, to=TensorProto.FLOAT)

    def _candidates(self) -> tuple[str, str, str, str, str, int]:
        """The best: boxes [B, K, 4] x1 y1 x2 y2, or rotated ones [B, K, 5]; scores [B, K]; labels, indices, and which box
        of the network, int64 [B, K]; and K."""
        boxes, valid = self.upright()
        width = 4
        if self.layout.angle is not None:
            boxes, width = self.op("Concat", boxes, self.part(self.layout.angle)[0], axis=2), 5
        scores, classes = self.scores()
        count = self.boxes_in_graph()
        labels = ""
        mask = self.allowed(classes)
        if self.plan.multi_label:
            confident = self.op("Greater", scores, self.number(self.plan.conf))
            if valid:
                confident = self.op("And", confident, self.column(valid, 2))
            if not mask.all():
                confident = self.op("And", confident, self.constant(mask.reshape(1, 1, -1) > 0))
            scores = self.op("Where", confident, scores, self.number(_EXCLUDED))
            scores = self.op("Reshape", scores, self.integers([0, -1]))  # [B, N * nc]: index = box * nc + class
            count = count and count * classes
        else:
            labels = self.op("ArgMax", scores, axis=2, keepdims=0)  # [B, N]; the lower class of equals
            scores = self.reduce("ReduceMax", scores, 2, keepdims=0)
            confident = self.op("Greater", scores, self.number(self.plan.conf))  # false for NaN
            if valid:
                confident = self.op("And", confident, valid)
            if not mask.all():
                found = self.op("Gather", self.constant(mask), labels, axis=0)
                confident = self.op("And", confident, self.op("Greater", found, self.number(0.5)))
            scores = self.op("Where", confident, scores, self.number(_EXCLUDED))
        size = min(self.plan.candidates, count or self.plan.candidates)
        if count is None:  # a small image may have fewer boxes than candidates
            scores = self.op("Pad", scores, self.integers([0, 0, 0, size]), self.number(_EXCLUDED))
            self.padding = size
            boxes = self.padded(boxes)
            labels = labels and self.op("Pad", labels, self.integers([0, 0, 0, size]))
        best, index = self.ops("TopK", scores, self.integers([size]), outputs=2, axis=1, largest=1, sorted=1)
        box = index
        if labels:
            labels = self.op("GatherElements", labels, index, axis=1)
        else:
            box = self.op("Div", index, self.integers([classes]))
            labels = self.op("Sub", index, self.op("Mul", box, self.integers([classes])))
        boxes = self.rows(boxes, box, width)
        if not self.plan.adjusts_boxes and self.layout.angle is None:
            boxes = self.corners(boxes)  # only of the best
        return boxes, best, labels, index, box, size

    def padded(self, rows: str) -> str:
        """Rows [B, N, C] with zeros below, if the candidates have them."""
        if not self.padding:
            return rows
        return self.op("Pad", rows, self.integers([0, 0, 0, 0, self.padding, 0]), self.number(0))

    # what is kept, float32 [B, 1, K]

    def _fast(self, scores: str, over: str) -> tuple[str, str]:
        """Fast NMS, as Ultralytics does it for rotated boxes: removed boxes remove others too, so that one round is exact."""
        confident = self.floats("Greater", self.column(scores, 1), self.number(self.plan.conf))
        return cluster_nms.kept_after(self, confident, over, 1), self._always(confident)

    def _always(self, values: str) -> str:
        """bool [B, 1], true, of the batch of values [B, 1, K] from 0 to 1."""
        if not self.plan.converged:
            return ""
        return self.op("Greater", self.reduce("ReduceSum", values, 2, keepdims=0), self.number(-1))

    def _cluster(self, scores: str, over: str) -> tuple[str, str]:
        confident = self.floats("Greater", self.column(scores, 1), self.number(self.plan.conf))
        kept = cluster_nms.kept_after(self, confident, over, self.plan.rounds)
        return kept, cluster_nms.is_final(self, kept, confident, over) if self.plan.converged else ""

    def _operator(self, boxes: str, scores: str, labels: str) -> tuple[str, str]:
        """ONNX's NonMaxSuppression with a single class: ``_shifted`` already separates the classes."""
        row = self.column(scores, 1)
        selected = self.op(
            "NonMaxSuppression",
            self._shifted(boxes, scores, labels),
            row,
            self.integers([self.plan.max_det]),
            self.constant(np.array([self.plan.iou], np.float32)),
            self.constant(np.array([self.plan.conf], np.float32)),
        )  # [n, 3]: batch, class, box
        # a comparison first: 0 times an infinite score would be NaN
        zeros = self.op("Mul", self.floats("Greater", row, self.number(self.plan.conf)), self.number(0))
        first = self.op("Gather", selected, self.constant(np.array(0, np.int64)), axis=1)
        ones = self.op(
            "Add", self.op("Mul", self.op("Cast", first, to=TensorProto.FLOAT), self.number(0)), self.number(1)
        )
        kept = self.op("ScatterND", zeros, selected, ones)
        return kept, self._always(zeros)

    def _write(
        self, boxes: str, scores: str, labels: str, box: str, kept: str, better: str, size: int, converged: str
    ) -> None:
        """The best of what is kept, padded with zeros, with its extras."""
        most = min(self.plan.max_det, size)
        rank = self.reduce(
            "ReduceSum", self.op("Cast", better, to=TensorProto.FLOAT), 1, keepdims=1
        )  # [B, 1, K]: how many are better; no two are equal
        key = self.op("Mul", kept, self.op("Sub", self.number(size), rank))
        key = self.op("Reshape", key, self.integers([0, -1]))
        found, at = self.ops("TopK", key, self.integers([most]), outputs=2, axis=1, largest=1, sorted=1)
        valid = self.op("Greater", found, self.number(0.5))  # [B, M]
        count = self.reduce("ReduceSum", self.op("Cast", valid, to=TensorProto.FLOAT), 1, keepdims=1)
        scores = self.op("Where", valid, self.op("GatherElements", scores, at, axis=1), self.number(0))
        classes = self.op(
            "Where", valid, self.op("GatherElements", labels, at, axis=1), self.constant(np.array(0, np.int64))
        )
        width = 4 if self.layout.angle is None else 5
        real = self.column(valid, 2)
        boxes = self.op("Where", real, self.rows(boxes, at, width), self.number(0))
        values = [
            self.named("Cast", count, output=SCHEMA[0], to=TensorProto.INT32),
            self.named("Identity", boxes, output=SCHEMA[1]),
            self.named("Identity", scores, output=SCHEMA[2]),
            self.named("Cast", classes, output=SCHEMA[3], to=TensorProto.INT32),
        ]
        shapes: list[list[int]] = [[1], [most, width], [most], [most]]
        if self.layout.extras:
            box = self.op("GatherElements", box, at, axis=1)  # of what is kept, in the network's outputs
        for extra in self.layout.extras:
            numbers, width = self.part(extra.part)
            found = self.op("Where", real, self.rows(self.padded(numbers), box, width), self.number(0))
            values.append(self.named("Identity", found, output=extra.output))
            shapes.append([most, width])
        if converged:
            values.append(self.named("Cast", converged, output=CONVERGED, to=TensorProto.INT32))
            shapes.append([1])
        self._replace_outputs(values, shapes)

    def _append_plugin(self) -> None:
        """TensorRT's plugin; it suppresses each class of a box separately."""
        boxes, valid = self.upright()
        if not self.plan.adjusts_boxes:
            boxes = self.corners(boxes)
        scores, classes = self.scores()
        if valid:
            scores = self.op("Where", self.column(valid, 2), scores, self.number(0))
        mask = self.allowed(classes)
        if not self.plan.multi_label:
            best = self.op("ArgMax", scores, axis=2, keepdims=1)
            own = self.op("Equal", best, self.constant(np.arange(classes, dtype=np.int64).reshape(1, 1, -1)))
            scores = self.op("Mul", scores, self.op("Cast", own, to=TensorProto.FLOAT))
        if not mask.all():
            scores = self.op("Mul", scores, self.constant(mask.reshape(1, 1, -1)))
        agnostic: dict[str, Any] = {"class_agnostic": 1} if self.plan.agnostic else {}
        node = helper.make_node(
            PLUGIN,
            [boxes, scores],
            list(SCHEMA),
            name=f"{NMS_SCOPE}{PLUGIN}",
            domain=_PLUGIN_DOMAIN,
            plugin_version="1",
            background_class=-1,
            box_coding=0,
            iou_threshold=float(self.plan.iou),
            max_output_boxes=self.plan.max_det,
            score_activation=0,
            score_threshold=float(self.plan.conf),
            **agnostic,
        )
        self.graph.node.append(node)
        self.model.opset_import.append(helper.make_opsetid(_PLUGIN_DOMAIN, 1))
        most = self.plan.max_det
        self._replace_outputs(list(SCHEMA), [[1], [most, 4], [most], [most]])

    def _replace_outputs(self, names: Sequence[str], shapes: Sequence[Sequence[int]]) -> None:
        batch: Any = self.batch.dim_value or self.batch.dim_param or "batch"
        taken = {value for node in self.graph.node for value in node.output if not node.name.startswith(NMS_SCOPE)}
        taken |= {value.name for value in (*self.graph.input, *self.graph.initializer)}
        clash = [name for name in names if name in taken]
        if clash:
            raise GraphError(f"The graph already has a value named {clash[0]!r}.", hint="Rename it: --output-names")
        kept = [value for value in self.graph.output if value.name in self.layout.kept]
        old = [value for value in self.graph.output if value.name not in self.layout.kept]
        del self.graph.output[:]
        self.graph.value_info.extend(old)
        for name, shape in zip(names, shapes, strict=True):
            kind = TensorProto.INT32 if name in (SCHEMA[0], SCHEMA[3], CONVERGED) else TensorProto.FLOAT
            self.graph.output.append(helper.make_tensor_value_info(name, kind, [batch, *shape]))
        self.graph.output.extend(kept)
