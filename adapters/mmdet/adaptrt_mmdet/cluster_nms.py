"""Greedy NMS in torch with static shapes: a fixed number of rounds, of which the last says whether it was enough.

The method is that of ``adaptrt convert --nms``, here in the middle of a network: a round keeps the boxes that no kept better
box overlaps, and a state that a further round does not change is the result of greedy NMS.
"""

from __future__ import annotations

import torch
from torch import nn

from adaptrt.vision.nms import largest_float32_up_to


class ClusterNms(nn.Module):
    """``cluster_nms`` as a module: the names of its nodes contain that of its attribute, ``adaptrt_nms``, so that they stay float32."""

    def forward(
        self, boxes: torch.Tensor, alive: torch.Tensor, iou: float, rounds: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return cluster_nms(boxes, alive, iou, rounds)


def cluster_nms(boxes: torch.Tensor, alive: torch.Tensor, iou: float, rounds: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What greedy NMS keeps, float32 [B, K] of 0 and 1, and whether that is final, float32 [B, 1].

    ``boxes``: [B, K, 4] x1 y1 x2 y2, the best first, of different classes apart. ``alive``: float32 [B, K], 0 for what is
    no candidate.
    """
    over = overlaps(boxes, iou)
    keep = alive
    for _ in range(rounds):
        keep = _round(keep, alive, over)
    changes = (_round(keep, alive, over) - keep).abs().sum(1, keepdim=True)
    return keep, (changes < 0.5).to(boxes.dtype)


def _round(keep: torch.Tensor, alive: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    return alive * (torch.matmul(keep.unsqueeze(1), over)[:, 0] < 0.5).to(alive.dtype)


def overlaps(boxes: torch.Tensor, iou: float) -> torch.Tensor:
    """float32 [B, K, K]: whether box j (row) comes before i (column) and overlaps it by more than ``iou``."""
    x1, y1, x2, y2 = (boxes[..., side : side + 1] for side in range(4))  # [B, K, 1]
    u1, v1, u2, v2 = (side.transpose(1, 2) for side in (x1, y1, x2, y2))  # [B, 1, K]
    width = (torch.minimum(x2, u2) - torch.maximum(x1, u1)).clamp(min=0)
    height = (torch.minimum(y2, v2) - torch.maximum(y1, v1)).clamp(min=0)
    shared = width * height
    union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - shared
    count = int(boxes.shape[1])
    before = torch.triu(torch.ones(count, count, dtype=boxes.dtype), 1)
    # the division of torchvision: a product could round to the other side of the limit
    return (shared / union > float(largest_float32_up_to(iou))).to(boxes.dtype) * before


def apart(boxes: torch.Tensor, groups: torch.Tensor, alive: torch.Tensor) -> torch.Tensor:
    """Boxes of different groups moved apart by the largest coordinate of those alive, plus 1, as mmcv does."""
    lowest = torch.finfo(boxes.dtype).min
    largest = torch.where(alive.unsqueeze(-1) > 0.5, boxes, lowest).amax((1, 2), keepdim=True)
    return boxes + groups.to(boxes.dtype).unsqueeze(-1) * (largest.clamp(min=0) + 1)


def highest(scores: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``count`` highest of [B, N], the best first, and their indices; of equal scores the lower index first.

    That is the order of mmdet, which sorts, and of ONNX's TopK. ``torch.topk``, which is exported, leaves it open in torch itself: there,
    scores that are equal in float32, such as sigmoids of large numbers, came in another order.
    """
    if torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        best, index = scores.topk(count, dim=1)
        return best, index
    best, index = scores.sort(dim=1, descending=True, stable=True)
    return best[:, :count], index[:, :count]


def rows_at(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows [B, K, 4] of [B, N, 4] at indices [B, K]."""
    return values.gather(1, torch.stack([index] * 4, -1))
