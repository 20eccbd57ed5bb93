"""NMS as a module, for networks that continue after it, such as two-stage detectors. Both exporters write it into the graph.

The method is that of ``adaptrt convert --nms`` (``adaptrt.graph.cluster_nms``), computed with tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from adaptrt.graph import cluster_nms as method
from adaptrt.vision.nms import largest_float32_up_to

_OPERATORS: dict[str, Callable[..., torch.Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": torch.div,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "Less": torch.lt,
    "MatMul": torch.matmul,
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "ReduceMax": torch.amax,
    "ReduceSum": torch.sum,
    "Sub": torch.sub,
    "Transpose": lambda value, perm: value.permute(perm),
    "Where": torch.where,
}


class ClusterNms(nn.Module):
    """Greedy NMS with static shapes, exact for chains of up to ``rounds + 1`` boxes in which each box overlaps the next.

    All of its nodes compute in float32 in every precision.
    """

    def __init__(self) -> None:
        super().__init__()
        self.adaptrt_nms = _Rounds()

    def forward(
        self,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        index: torch.Tensor,
        candidates: torch.Tensor,
        iou: float,
        rounds: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Which boxes are kept, float32 [B, K] of 0 and 1, and whether the result is final, float32 [B, 1].

        ``boxes``: float32 [B, K, 4], x1 y1 x2 y2; boxes of different classes ``moved_apart``. ``scores``: float32 [B, K]. ``index``:
        int64 [B, K] or [1, K]; of two boxes with the same score, the one with the lower index is better. ``candidates``: float32
        [B, K], 0 for boxes that are neither kept nor remove others. A box is removed if a better one that is kept overlaps it by
        more than ``iou``. The result is final if a further round would not change it.
        """
        found: tuple[torch.Tensor, torch.Tensor] = self.adaptrt_nms(boxes, scores, index, candidates, iou, rounds)
        return found


class _Rounds(nn.Module):
    """The name of this module is part of the names of its nodes, and by it they are found (``node_rules.in_nms``)."""

    def forward(
        self,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        index: torch.Tensor,
        candidates: torch.Tensor,
        iou: float,
        rounds: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        ops = _Tensors(boxes.device)
        alive = ops.column(candidates, 1)
        limit = float(largest_float32_up_to(iou))
        over = method.suppressions(ops, boxes, method.better(ops, scores, index), limit)
        kept = method.kept_after(ops, alive, over, rounds)
        final = method.is_final(ops, kept, alive, over)
        return kept.squeeze(1), final.to(boxes.dtype)


def moved_apart(boxes: torch.Tensor, groups: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Boxes [B, K, 4] of which those of different groups do not overlap: moved by the largest coordinate of the candidates plus 1 for
    each group, as in mmcv.

    ``boxes``: float32 [B, K, 4]. ``groups``: [B, K] or [1, K], whole numbers from 0. ``candidates``: float32 [B, K] of 0 and 1.
    """
    ops = _Tensors(boxes.device)
    offset = method.offset_of(ops, boxes, ops.column(candidates, 2) > 0.5)
    return method.moved_apart(ops, boxes, groups, offset)


class _Tensors:
    """ONNX's operators on tensors, as far as the method needs them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def op(self, kind: str, *inputs: torch.Tensor, **attributes: Any) -> torch.Tensor:
        return _OPERATORS[kind](*inputs, **attributes)

    def floats(self, kind: str, *inputs: torch.Tensor) -> torch.Tensor:
        return self.to_float(self.op(kind, *inputs))

    def to_float(self, value: torch.Tensor) -> torch.Tensor:
        return value.float()

    def reduce(self, kind: str, value: torch.Tensor, *axes: int, keepdims: int) -> torch.Tensor:
        return _OPERATORS[kind](value, axes, keepdim=bool(keepdims))

    def column(self, value: torch.Tensor, axis: int) -> torch.Tensor:
        return value.unsqueeze(axis)

    def slice(self, value: torch.Tensor, axis: int, start: int, stop: int) -> torch.Tensor:
        return value.narrow(axis, start, stop - start)

    def number(self, value: float) -> torch.Tensor:
        return torch.full((), value, device=self.device)
