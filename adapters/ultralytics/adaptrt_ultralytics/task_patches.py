"""Patches for what segmentation, pose and rotated boxes add to Ultralytics' head, and for end-to-end heads."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.head import OBB, OBB26, Detect, Pose, Pose26, Segment

from adaptrt import FunctionPatch, Patch
from adaptrt_ultralytics.anchors import anchor_points, cell_counts

REQUIRES = "ultralytics>=8.4.9,<9"
TESTED = "ultralytics>=8.4.9,<=8.4.190"
_HEAD = "ultralytics.nn.modules.head"


def task_patches(model: nn.Module) -> list[Patch]:
    """The patches that this network needs for its task, or for its end-to-end head."""
    found: list[Patch] = []
    for kind, name, replacement in (
        (Segment, "Segment.forward_head", _forward_masks),
        (Pose26, "Pose26.forward_head", _forward_keypoints26),
        (Pose, "Pose.forward_head", _forward_keypoints),
        (OBB26, "OBB26.forward_head", _forward_angles26),
        (OBB, "OBB.forward_head", _forward_angles),
    ):
        exact = kind is Segment or not any(isinstance(module, (Pose26, OBB26)) for module in model.modules())
        if any(isinstance(module, kind) for module in model.modules()) and (exact or kind in (Pose26, OBB26)):
            found.append(
                FunctionPatch(
                    target=f"{_HEAD}:{name}",
                    replacement=replacement,
                    reason="batch and cell count are read from shapes and become Shape, Gather and Concat nodes",
                    requires=REQUIRES,
                    tested=TESTED,
                )
            )
    if any(isinstance(module, Pose) for module in model.modules()):
        found.append(
            FunctionPatch(
                target=f"{_HEAD}:Pose._inference",
                replacement=_pose_inference,
                reason="the batch is read from a shape; anchor points of a fixed size are constants",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    if any(isinstance(module, Detect) and module.end2end for module in model.modules()):
        found.append(
            FunctionPatch(
                target=f"{_HEAD}:Detect.postprocess",
                replacement=_best_rows,
                reason="counts are read from shapes; the indices are repeated by numbers, not expanded to a shape",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    return found


def _joined(branches: Any, x: list[torch.Tensor], channels: int) -> torch.Tensor:
    """The outputs of the branches of all levels: [B, channels, N]."""
    counts = [height * width for height, width in map(cell_counts, x)]
    return torch.cat([branches[i](x[i]).view(-1, channels, counts[i]) for i in range(len(x))], -1)


def _with(self: Detect, x: list[torch.Tensor], box_head: Any, cls_head: Any, **more: Any) -> dict[str, Any]:
    """The output dict of the base class, with the output of the task; empty if fusing removed the branch."""
    found: dict[str, Any] = Detect.forward_head(self, x, box_head, cls_head)  # type: ignore[no-untyped-call]
    return {**found, **more}


def _forward_masks(
    original: Any, self: Any, x: list[torch.Tensor], box_head: Any, cls_head: Any, mask_head: Any
) -> dict[str, Any]:
    if mask_head is None:
        return _with(self, x, box_head, cls_head)
    return _with(self, x, box_head, cls_head, mask_coefficient=_joined(mask_head, x, self.nm))


def _forward_keypoints(
    original: Any, self: Any, x: list[torch.Tensor], box_head: Any, cls_head: Any, pose_head: Any
) -> dict[str, Any]:
    if pose_head is None:
        return _with(self, x, box_head, cls_head)
    return _with(self, x, box_head, cls_head, kpts=_joined(pose_head, x, self.nk))


def _forward_keypoints26(
    original: Any,
    self: Any,
    x: list[torch.Tensor],
    box_head: Any,
    cls_head: Any,
    pose_head: Any,
    kpts_head: Any,
    kpts_sigma_head: Any,
) -> dict[str, Any]:
    if pose_head is None:
        return _with(self, x, box_head, cls_head)
    features = [pose_head[i](x[i]) for i in range(self.nl)]
    return _with(self, x, box_head, cls_head, kpts=_joined(kpts_head, features, self.nk))


def _forward_angles(
    original: Any, self: Any, x: list[torch.Tensor], box_head: Any, cls_head: Any, angle_head: Any
) -> dict[str, Any]:
    if angle_head is None:
        return _with(self, x, box_head, cls_head)
    angle = (_joined(angle_head, x, self.ne).sigmoid() - 0.25) * math.pi
    return _with(self, x, box_head, cls_head, angle=angle)


def _forward_angles26(
    original: Any, self: Any, x: list[torch.Tensor], box_head: Any, cls_head: Any, angle_head: Any
) -> dict[str, Any]:
    if angle_head is None:
        return _with(self, x, box_head, cls_head)
    return _with(self, x, box_head, cls_head, angle=_joined(angle_head, x, self.ne))


def _pose_inference(original: Any, self: Pose, x: dict[str, Any]) -> torch.Tensor:
    boxes = Detect._inference(self, x)  # type: ignore[no-untyped-call]
    factor, shift = (1.0, 0.0) if isinstance(self, Pose26) else (2.0, 0.5)
    count, numbers = (int(number) for number in self.kpt_shape)
    points, strides = anchor_points([cell_counts(feature) for feature in x["feats"]], self.stride.tolist())
    cells = points.shape[1]
    split = x["kpts"].view(-1, count, numbers, cells)
    places = (split[:, :, :2] * factor + (points - shift)) * strides  # (B, K, 2, N), input pixels
    if numbers == 3:
        places = torch.cat((places, split[:, :, 2:].sigmoid()), 2)
    return torch.cat((boxes, places.view(-1, count * numbers, cells)), 1)


def _best_rows(original: Any, self: Any, preds: torch.Tensor) -> torch.Tensor:
    """[B, N, 4 + nc + E] to [B, k, 6 + E]: the best pairs of box and class, as the framework chooses them."""
    cells, width = int(preds.shape[1]), int(preds.shape[2])
    k = min(int(self.max_det), cells)
    scores = preds[..., 4 : 4 + self.nc]
    if self.agnostic_nms:
        values, labels = scores.max(dim=-1)
        best, places = values.topk(k, dim=1)
        names = labels.gather(1, places).to(preds.dtype)
    else:
        first = scores.amax(dim=-1).topk(k, dim=1)[1]
        best, pairs = scores.gather(1, _repeated(first, self.nc)).view(-1, k * self.nc).topk(k, dim=1)
        pairs = pairs.int()
        rows = torch.div(pairs, self.nc, rounding_mode="trunc")
        names = (pairs - rows * self.nc).to(preds.dtype)
        places = first.gather(1, rows.long())
    others = [preds[..., :4].gather(1, _repeated(places, 4)), best[..., None], names[..., None]]
    extras = width - 4 - self.nc
    if extras:
        others.append(preds[..., 4 + self.nc :].gather(1, _repeated(places, extras)))
    return torch.cat(others, -1)


def _repeated(index: torch.Tensor, count: int) -> torch.Tensor:
    return index.unsqueeze(-1).repeat(1, 1, count)
