"""Patches of ``ultralytics.nn.modules`` that keep shape arithmetic out of the graph.

The framework reads batch, height and width from tensors and passes them to every ``view``. Here the batch is the -1 of
each reshape, and static sizes are Python numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from ultralytics.nn.modules.block import AAttn, Attention, C2f
from ultralytics.nn.modules.head import Detect

from adaptrt import FunctionPatch, ModelSpec, Patch, SwitchPatch

REQUIRES = "ultralytics>=8.4,<9"
TESTED = "ultralytics>=8.4,<=8.4.190"
_BLOCK = "ultralytics.nn.modules.block"
_HEAD = "ultralytics.nn.modules.head"


def network_patches(model: nn.Module, spec: ModelSpec) -> list[Patch]:
    """The patches that this network needs: those whose target it contains."""
    kinds = {type(module) for module in model.modules()}
    static = not spec.dynamic_size
    found: list[Patch] = [
        SwitchPatch(
            target=f"{_HEAD}:Detect",
            values={"export": True, "format": "onnx", "dynamic": not static},
            reason="the head's own export switch: returns only the decoded tensor",
            requires=REQUIRES,
            tested=TESTED,
        )
    ]
    if any(type(module).forward is C2f.forward for module in model.modules()):
        found.append(
            FunctionPatch(
                target=f"{_BLOCK}:C2f.forward",
                replacement=_split_c2f,
                reason="the block's own variant that uses split; chunk reads a shape",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    if not static:
        return found
    found += [
        FunctionPatch(
            target=f"{_HEAD}:Detect.forward_head",
            replacement=_forward_head,
            reason="batch and cell count are read from shapes and become Shape, Gather and Concat nodes",
            requires=REQUIRES,
            tested=TESTED,
        ),
        FunctionPatch(
            target=f"{_HEAD}:Detect._get_decode_boxes",
            replacement=_decode_boxes,
            reason="anchor points of a fixed size are constants, not Range and Expand; chunk reads a shape",
            requires=REQUIRES,
            tested=TESTED,
        ),
    ]
    if any(isinstance(module, Detect) and module.reg_max > 1 for module in model.modules()):
        found.append(
            FunctionPatch(
                target=f"{_BLOCK}:DFL.forward",
                replacement=_distribution,
                reason="the batch is read from a shape; the expectation is computed as one product, without the transpose",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    if Attention in kinds:
        found.append(
            FunctionPatch(
                target=f"{_BLOCK}:Attention.forward",
                replacement=_attention,
                reason="batch and cell count are read from shapes (C2PSA of v11)",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    if AAttn in kinds:
        found.append(
            FunctionPatch(
                target=f"{_BLOCK}:AAttn.forward",
                replacement=_area_attention,
                reason="batch and cell count are read from shapes (A2C2f of v12)",
                requires=REQUIRES,
                tested=TESTED,
            )
        )
    return found


def _cells(feature: torch.Tensor) -> tuple[int, int]:
    """Height and width of a feature map as plain numbers."""
    return int(feature.shape[2]), int(feature.shape[3])


def _forward_head(
    original: Any, self: Detect, x: list[torch.Tensor], box_head: Any = None, cls_head: Any = None
) -> dict[str, Any]:
    if box_head is None or cls_head is None:
        result: dict[str, Any] = original(self, x, box_head, cls_head)
        return result
    counts = [height * width for height, width in map(_cells, x)]
    boxes = [box_head[i](x[i]).view(-1, 4 * self.reg_max, counts[i]) for i in range(self.nl)]
    scores = [cls_head[i](x[i]).view(-1, self.nc, counts[i]) for i in range(self.nl)]
    return {"boxes": torch.cat(boxes, -1), "scores": torch.cat(scores, -1), "feats": x}


def _decode_boxes(original: Any, self: Detect, x: dict[str, Any]) -> torch.Tensor:
    points, strides = _anchor_points([_cells(feature) for feature in x["feats"]], self.stride.tolist())
    distances = self.dfl(x["boxes"])  # (B, 4, N): left, top, right, bottom, in cells
    low, high = points - distances[:, :2], points + distances[:, 2:]  # chunk would read a shape
    return torch.cat(((low + high) / 2, high - low), 1) * strides


def _anchor_points(sizes: list[tuple[int, int]], strides: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cell centers [2, N] (x, y, in cells) and strides [1, N], level by level, row by row."""
    points, scales = [], []
    for (height, width), stride in zip(sizes, strides, strict=True):
        y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
        points.append(np.stack([x.ravel(), y.ravel()]))
        scales.append(np.full((1, height * width), stride, np.float32))
    return torch.from_numpy(np.concatenate(points, 1)), torch.from_numpy(np.concatenate(scales, 1))


def _distribution(original: Any, self: Any, x: torch.Tensor) -> torch.Tensor:
    cells = int(x.shape[2])
    # keep the bins on axis 2: a softmax next to a transpose and a convolution with one output channel are slow
    likely = x.view(-1, 4, self.c1, cells).softmax(2)  # (B, 4, bins, cells)
    bins: torch.Tensor = self.conv.weight.view(1, self.c1)
    return (bins @ likely).view(-1, 4, cells)


def _split_c2f(original: Any, self: C2f, x: torch.Tensor) -> torch.Tensor:
    return self.forward_split(x)


def _attention(original: Any, self: Any, x: torch.Tensor) -> torch.Tensor:
    channels = int(x.shape[1])
    height, width = _cells(x)
    qkv = self.qkv(x).view(-1, self.num_heads, self.key_dim * 2 + self.head_dim, height * width)
    q, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
    weights = ((q.transpose(-2, -1) @ k) * self.scale).softmax(dim=-1)  # (B, heads, cells, cells)
    mixed = (v @ weights.transpose(-2, -1)).view(-1, channels, height, width)
    result: torch.Tensor = self.proj(mixed + self.pe(v.reshape(-1, channels, height, width)))
    return result


def _area_attention(original: Any, self: Any, x: torch.Tensor) -> torch.Tensor:
    height, width = _cells(x)
    cells = height * width // self.area
    channels = self.num_heads * self.head_dim
    qkv = self.qkv(x).view(-1, 3 * channels, height * width)
    qkv = qkv.transpose(1, 2).reshape(-1, cells, self.num_heads, self.head_dim * 3).permute(0, 2, 3, 1)
    q, k, v = qkv.split([self.head_dim] * 3, dim=2)  # (B * area, heads, head_dim, cells)
    weights = ((q * self.head_dim**-0.5).transpose(-2, -1) @ k).softmax(dim=-1)
    mixed = (v @ weights.transpose(-2, -1)).permute(0, 3, 1, 2)
    mixed, v = (t.reshape(-1, height, width, channels).permute(0, 3, 1, 2) for t in (mixed, v.permute(0, 3, 1, 2)))
    result: torch.Tensor = self.proj(mixed + self.pe(v))
    return result
