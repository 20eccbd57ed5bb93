"""Cluster-NMS from ordinary operators with static shapes: one method, for nodes of a graph and for tensors of torch.

A matrix says which box suppresses which, and a fixed number of rounds computes ``keep = candidate and no kept better box overlaps``.
A state that one more round does not change is the result of greedy NMS, since that recurrence has a single fixed point.

``NodeWriter`` writes the operators into a graph (``--nms``); ``adaptrt.export.cluster_nms`` applies them to tensors of a network that
is then exported. B images, K candidates each.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import numpy as np

T = TypeVar("T")

_LOWEST = float(np.finfo(np.float32).min)


class Operators(Protocol[T]):
    """Operators of ONNX by name, on values of one kind."""

    def op(self, kind: str, *inputs: T, **attributes: Any) -> T: ...
    def floats(self, kind: str, *inputs: T) -> T:
        """A comparison, or a logical operation, as float32: 0 or 1."""

    def to_float(self, value: T) -> T: ...
    def reduce(self, kind: str, value: T, *axes: int, keepdims: int) -> T: ...
    def column(self, value: T, axis: int) -> T:
        """[B, K] to [B, 1, K] (``axis`` 1) or [B, K, 1] (2)."""

    def slice(self, value: T, axis: int, start: int, stop: int) -> T: ...
    def number(self, value: float) -> T: ...


def better(ops: Operators[T], scores: T, index: T) -> T:
    """bool [B, K, K]: whether box j (row) is better than i (column): a higher score, or the same and a lower index.

    It does not rely on the order of equals in TopK, which TensorRT does not define.
    """
    row, column = ops.column(scores, 2), ops.column(scores, 1)
    earlier = ops.op("Less", ops.column(index, 2), ops.column(index, 1))
    tied = ops.op("And", ops.op("Equal", row, column), earlier)
    return ops.op("Or", ops.op("Greater", row, column), tied)


def offset_of(ops: Operators[T], boxes: T, candidates: T) -> T:
    """The distance between groups as mmcv computes it: the largest coordinate of the ``candidates``, bool [B, K, 1], plus 1."""
    largest = ops.reduce("ReduceMax", ops.op("Where", candidates, boxes, ops.number(_LOWEST)), 1, 2, keepdims=1)
    return ops.op("Add", largest, ops.number(1))


def moved_apart(ops: Operators[T], boxes: T, groups: T, offset: T) -> T:
    """Boxes [B, K, 4] moved by ``offset`` times their group [B, K], so that those of different groups do not overlap."""
    numbers = ops.to_float(ops.column(groups, 2))
    return ops.op("Add", boxes, ops.op("Mul", numbers, offset))


def suppressions(ops: Operators[T], boxes: T, better: T, iou: float) -> T:
    """float32 [B, K, K]: whether box j (row), if it is kept, removes box i (column): boxes float32 [B, K, 4] x1 y1 x2 y2."""
    columns = ops.op("Transpose", boxes, perm=[0, 2, 1])  # [B, 4, K]
    x1, y1, x2, y2 = (ops.slice(boxes, 2, side, side + 1) for side in range(4))  # [B, K, 1]
    u1, v1, u2, v2 = (ops.slice(columns, 1, side, side + 1) for side in range(4))  # [B, 1, K]
    area = ops.op("Mul", ops.op("Sub", x2, x1), ops.op("Sub", y2, y1))
    other = ops.op("Mul", ops.op("Sub", u2, u1), ops.op("Sub", v2, v1))
    zero = ops.number(0)
    width = ops.op("Max", ops.op("Sub", ops.op("Min", x2, u2), ops.op("Max", x1, u1)), zero)
    height = ops.op("Max", ops.op("Sub", ops.op("Min", y2, v2), ops.op("Max", y1, v1)), zero)
    shared = ops.op("Mul", width, height)
    union = ops.op("Sub", ops.op("Add", area, other), shared)
    # the division of torchvision, in its order: a product could round to the other side of the limit
    over = ops.op("Greater", ops.op("Div", shared, union), ops.number(iou))
    return ops.floats("And", over, better)


def kept_after(ops: Operators[T], candidates: T, over: T, rounds: int) -> T:
    """What is kept of ``candidates``, both float32 [B, 1, K] of 0 and 1."""
    kept = candidates
    for _ in range(rounds):
        kept = _round(ops, kept, candidates, over)
    return kept


def is_final(ops: Operators[T], kept: T, candidates: T, over: T) -> T:
    """bool [B, 1]: whether one more round changes nothing."""
    changed = ops.op("Abs", ops.op("Sub", _round(ops, kept, candidates, over), kept))
    return ops.op("Less", ops.reduce("ReduceSum", changed, 2, keepdims=0), ops.number(0.5))


def _round(ops: Operators[T], kept: T, candidates: T, over: T) -> T:
    free = ops.floats("Less", ops.op("MatMul", kept, over), ops.number(0.5))
    return ops.op("Mul", candidates, free)
