"""Boxes in pixels and scores from the maps of a one-stage head, as ``predict_by_feat`` computes them before NMS; in torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from adaptrt import ModelError
from adaptrt_mmdet.image_region import image_limits, within

MASK_HEADS = ("RTMDetInsHead", "RTMDetInsSepBNHead")
"""Their candidates have kernels, from which the decoder makes masks; boxes are decoded as those of RTMDet."""
OWN = ("GFLHead", "LDHead", "YOLOXHead", "YOLOV3Head", "PAAHead", *MASK_HEADS)
"""Supported heads that override mmdet's generic decoding."""
UNCLIPPED = ("YOLOXHead", "YOLOV3Head")
ANY_SIZE = ("YOLOXHead", "PAAHead")
"""Heads that do not read ``min_bbox_size``: boxes without area remain candidates."""
CODERS = ("DeltaXYWHBBoxCoder", "DistancePointBBoxCoder", "TBLRBBoxCoder")
_GENERIC = ("predict", "predict_by_feat", "_predict_by_feat_single", "_bbox_post_process")


def head_problem(head: Any) -> str | None:
    """The reason why the boxes of this head cannot be decoded in the graph; ``None`` if they can.

    A head is supported if it does not override mmdet's generic decoding and has one of ``CODERS``.
    """
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead

    name = type(head).__name__
    if not isinstance(head, BaseDenseHead):
        return "it is not a dense head"
    if name == "PAAHead" and head.with_score_voting:
        return (
            "its score voting averages boxes after NMS, and is not part of the graph; --set cfg.model.bbox_head.score_voting=False "
            "turns it off"
        )
    if name in OWN:
        return None
    changed = [method for method in _GENERIC if getattr(type(head), method) is not getattr(BaseDenseHead, method)]
    if changed:
        return f"it overrides the decoding of boxes ({changed[-1]})"
    if getattr(getattr(head, "loss_cls", None), "custom_cls_channels", False):  # SSD has no loss_cls
        return "its loss uses a custom activation"
    coder = type(head.bbox_coder).__name__
    if coder not in CODERS:
        return f"it encodes boxes with {coder}"
    return None


def clips(head: Any) -> bool:
    """Whether mmdet clips the boxes of this head to the image before NMS."""
    if type(head).__name__ in UNCLIPPED:
        return False
    return bool(getattr(head.bbox_coder, "clip_border", True))


def best_class(head: Any) -> bool:
    """Whether only the best class of a box counts."""
    return type(head).__name__ == "YOLOXHead"


def joined(maps: Sequence[torch.Tensor], width: int, *, static: bool) -> torch.Tensor:
    """Maps [B, A * width, h, w] of every level to [B, N, width]."""
    levels = []
    for level in maps:
        tokens = level.permute(0, 2, 3, 1)
        if static:
            channels, height, columns = (int(size) for size in level.shape[1:])
            levels.append(tokens.reshape(-1, height * columns * channels // width, width))
        else:
            levels.append(tokens.reshape(level.shape[0], -1, width))
    return torch.cat(levels, 1)


def boxes_and_scores(
    head: Any, maps: Sequence[Sequence[torch.Tensor]], images: torch.Tensor, *, padded: bool, static: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [B, N, 4] x1 y1 x2 y2 in pixels of ``images``, and [B, N, C].

    ``padded``: zeros at the bottom and right are padding, to which boxes do not extend. ``static``: sizes are numbers in the graph.
    """
    name = type(head).__name__
    priors, strides = priors_of(head, maps[0], static=static)
    if name == "YOLOV3Head":
        raw = joined(maps[0], int(head.num_attrib), static=static)
        center = (priors[..., :2] + priors[..., 2:]) * 0.5 + (raw[..., :2].sigmoid() - 0.5) * strides
        half = (priors[..., 2:] - priors[..., :2]) * 0.5 * raw[..., 2:4].exp()
        return torch.cat([center - half, center + half], -1), raw[..., 5:].sigmoid() * raw[..., 4:5].sigmoid()
    logits = joined(maps[0], int(head.cls_out_channels), static=static)
    scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[..., :-1]
    if len(maps) > 2:
        scores = scores * joined(maps[2], 1, static=static).sigmoid()
    if name == "PAAHead":
        scores = scores.sqrt()
    if name in ("GFLHead", "LDHead"):
        bins = int(head.reg_max) + 1
        raw = joined(maps[1], 4 * bins, static=static)
        odds = torch.stack([part.softmax(-1) for part in raw.split(bins, -1)], -2)  # [B, N, 4, bins]
        sides = (odds * torch.arange(bins, dtype=odds.dtype)).sum(-1) * strides
        boxes = from_distances((priors[..., :2] + priors[..., 2:]) / 2, sides)
    else:
        raw = joined(maps[1], 4, static=static)
        if name == "YOLOXHead":
            center, half = raw[..., :2] * strides + priors, raw[..., 2:].exp() * strides / 2
            boxes = torch.cat([center - half, center + half], -1)
        else:
            boxes = decoded(head.bbox_coder, priors, raw)
    if clips(head):
        boxes = within(boxes, image_limits(images, padded=padded, static=static))
    return boxes, scores


def decoded(coder: Any, priors: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """Boxes [..., 4] from a head's output [..., 4] and its anchors [..., 4] or points [..., 2], without clipping."""
    kind = type(coder).__name__
    if kind == "DistancePointBBoxCoder":
        return from_distances(priors, raw)
    if kind == "DeltaXYWHBBoxCoder":
        return from_deltas(coder, priors, raw)
    if kind == "TBLRBBoxCoder":
        return from_sides(coder, priors, raw)
    raise ModelError(f"Boxes encoded with {kind} are not supported.", hint=f"Supported: {', '.join(CODERS)}.")


def from_distances(points: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """``sides``: left, top, right, bottom."""
    return torch.cat([points - sides[..., :2], points + sides[..., 2:]], -1)


def from_deltas(coder: Any, priors: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    deltas = raw * torch.tensor(coder.stds, dtype=raw.dtype) + torch.tensor(coder.means, dtype=raw.dtype)
    size = priors[..., 2:] - priors[..., :2]
    shift, growth = size * deltas[..., :2], deltas[..., 2:]
    most = abs(math.log(16 / 1000))
    if coder.add_ctr_clamp:
        shift, growth = shift.clamp(-coder.ctr_clamp, coder.ctr_clamp), growth.clamp(max=most)
    else:
        growth = growth.clamp(-most, most)
    center, half = (priors[..., :2] + priors[..., 2:]) * 0.5 + shift, size * growth.exp() * 0.5
    return torch.cat([center - half, center + half], -1)


def from_sides(coder: Any, priors: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """``raw``: top, bottom, left, right, as parts of the anchor's sides."""
    sides = raw * torch.tensor(coder.normalizer, dtype=raw.dtype)
    size = priors[..., 2:] - priors[..., :2]
    vertical, horizontal = size[..., 1:] * sides[..., :2], size[..., :1] * sides[..., 2:]
    order = [horizontal[..., :1], vertical[..., :1], horizontal[..., 1:], vertical[..., 1:]]
    return from_distances((priors[..., :2] + priors[..., 2:]) / 2, torch.cat(order, -1))


def priors_of(head: Any, maps: Sequence[torch.Tensor], *, static: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Anchors [1, N, 4] or points [1, N, 2], and the stride of each, [1, N, 1]."""
    generator, priors, strides = head.prior_generator, [], []
    for number, level in enumerate(maps):
        across, down = _pair(generator.strides[number])
        x, y = _cells(level, static=static)  # [h, w]
        if hasattr(generator, "base_anchors"):
            shifts = torch.stack([x * across, y * down, x * across, y * down], -1).reshape(-1, 1, 4)
            found = (shifts + generator.base_anchors[number]).reshape(1, -1, 4)
        else:
            offset = float(generator.offset)
            found = torch.stack([(x + offset) * across, (y + offset) * down], -1).reshape(1, -1, 2)
        priors.append(found)
        strides.append(torch.ones_like(found[..., :1]) * across)
    return torch.cat(priors, 1), torch.cat(strides, 1)


def _cells(level: torch.Tensor, *, static: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Column and row of each cell, float32 [h, w]."""
    if static:
        height, width = (int(side) for side in level.shape[2:])
        rows = torch.arange(height, dtype=torch.float32).view(-1, 1).expand(height, width)
        return torch.arange(width, dtype=torch.float32).expand(height, width), rows
    ones = torch.ones_like(level[0, 0])
    return ones.cumsum(1) - 1, ones.cumsum(0) - 1


def _pair(stride: Any) -> tuple[float, float]:
    """Across and down."""
    across, down = stride if isinstance(stride, (tuple, list)) else (stride, stride)
    return float(across), float(down)
