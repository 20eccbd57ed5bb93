"""Which box suppresses which, as nodes of a graph: overlaps of boxes, and of rotated boxes."""

from __future__ import annotations

import onnx

from adaptrt.graph import cluster_nms
from adaptrt.graph.nms_plan import NmsPlan
from adaptrt.graph.node_writer import NodeWriter
from adaptrt.onnxfile.node_rules import NMS_SCOPE

EPSILON = 1e-7
"""Of ``adaptrt.vision.rotated``."""


class OverlapWriter(NodeWriter):
    """The part of NMS that compares each candidate with each other, K x K."""

    def __init__(self, model: onnx.ModelProto, plan: NmsPlan) -> None:
        super().__init__(model, NMS_SCOPE)
        self.plan = plan

    def suppressions(self, boxes: str, scores: str, labels: str, better: str) -> str:
        """float32 [B, K, K]: whether box j (row), if it is kept, removes box i (column)."""
        return cluster_nms.suppressions(self, self._shifted(boxes, scores, labels), better, self.plan.iou)

    def _shifted(self, boxes: str, scores: str, labels: str) -> str:
        """Boxes of different classes apart, as ``select`` does it."""
        if self.plan.agnostic:
            return boxes
        if self.plan.class_offset is None:
            confident = self.op("Greater", self.column(scores, 2), self.number(self.plan.conf))
            offset = cluster_nms.offset_of(self, boxes, confident)
        else:
            offset = self.number(self.plan.class_offset)
        return cluster_nms.moved_apart(self, boxes, labels, offset)

    def rotated_suppressions(self, boxes: str, labels: str, better: str) -> str:
        """float32 [B, K, K]: whether box j (row) removes box i (column), by ``adaptrt.vision.rotated.probabilistic_iou``, in
        the order of its operations."""
        if not self.plan.agnostic:
            assert self.plan.class_offset is not None
            numbers = self.to_float(self.column(labels, 2))
            moved = self.op(
                "Add", self.slice(boxes, 2, 0, 2), self.op("Mul", numbers, self.number(self.plan.class_offset))
            )
            boxes = self.op("Concat", moved, self.slice(boxes, 2, 2, 5), axis=2)
        x1, y1, *first = self._gaussians(boxes)  # [B, K, 1]
        x2, y2, *second = (self.op("Transpose", one, perm=[0, 2, 1]) for one in (x1, y1, *first))  # [B, 1, K]
        eps = self.number(EPSILON)
        dx, dy = self.op("Sub", x2, x1), self.op("Sub", y1, y2)
        a, b, c = (self.op("Add", one, other) for one, other in zip(first[:3], second[:3], strict=True))
        determinant = self.op("Sub", self.op("Mul", a, b), self.op("Mul", c, c))
        below = self.op("Add", determinant, eps)
        squares = self.op("Add", self.product(a, dy, dy), self.product(b, dx, dx))
        apart = self.op("Div", self.op("Div", squares, below), self.number(4))
        mixed = self.op("Div", self.op("Div", self.product(c, dx, dy), below), self.number(2))
        root = self.op("Sqrt", self.op("Mul", first[3], second[3]))
        ratio = self.op("Div", determinant, self.op("Add", self.op("Mul", root, self.number(4)), eps))
        spread = self.op("Div", self.op("Log", self.op("Add", ratio, eps)), self.number(2))
        apart = self.op("Add", self.op("Add", apart, mixed), spread)
        apart = self.op("Min", self.op("Max", apart, eps), self.number(100))
        near = self.op("Exp", self.op("Neg", apart))
        far = self.op("Sqrt", self.op("Add", self.op("Sub", self.number(1), near), eps))
        overlap = self.op("Sub", self.number(1), far)
        return self.floats("And", self.op("Greater", overlap, self.number(self.plan.iou)), better)

    def _gaussians(self, boxes: str) -> list[str]:
        """Of boxes [B, K, 5]: center x and y, the variances in x and y, the covariance, and the determinant, [B, K, 1]."""
        x, y, width, height, angle = (self.slice(boxes, 2, side, side + 1) for side in range(5))
        across, along = (self.op("Div", self.op("Mul", side, side), self.number(12)) for side in (width, height))
        cos, sin = self.op("Cos", angle), self.op("Sin", angle)
        a = self.op("Add", self.product(across, cos, cos), self.product(along, sin, sin))
        b = self.op("Add", self.product(across, sin, sin), self.product(along, cos, cos))
        c = self.product(self.op("Sub", across, along), cos, sin)
        determinant = self.op("Sub", self.op("Mul", a, b), self.op("Mul", c, c))
        return [x, y, a, b, c, self.op("Max", determinant, self.number(0))]

    def product(self, first: str, second: str, third: str) -> str:
        return self.op("Mul", self.op("Mul", first, second), third)
