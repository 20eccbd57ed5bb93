"""Patches of ``ultralytics.nn.modules`` that keep shape arithmetic out of the graph.

The framework reads batch, height and width from tensors and passes them to every ``view``. Here the batch is the -1 of
each reshape, and static sizes are Python numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.block import AAttn, Attention, C2f
from ultralytics.nn.modules.head import Classify, Detect, RTDETRDecoder

from adaptrt import FunctionPatch, ModelSpec, Patch, SwitchPatch
from adaptrt_ultralytics.anchors import anchor_points, cell_counts
from adaptrt_ultralytics.task_patches import task_patches

REQUIRES = "ultralytics>=8.4.9,<9"
TESTED = "ultralytics>=8.4.9,<=8.4.190"
_BLOCK = "ultralytics.nn.modules.block"
_HEAD = "ultralytics.nn.modules.head"


def network_patches(model: nn.Module, spec: ModelSpec) -> list[Patch]:
    """The patches that this network needs: those whose target it contains."""
    kinds = {type(module) for module in model.modules()}
    static = not spec.dynamic_size
    if any(isinstance(module, Classify) for module in model.modules()):
        return _classifier_patches(kinds, static)
    if any(isinstance(module, RTDETRDecoder) for module in model.modules()):
        from adaptrt_ultralytics.rtdetr_patches import rtdetr_patches

        return rtdetr_patches(model, spec)
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
    found += task_patches(model)
    found += _attention_patches(kinds)
    return found


def _classifier_patches(kinds: set[type[nn.Module]], static: bool) -> list[Patch]:
    switch = SwitchPatch(
        target=f"{_HEAD}:Classify",
        values={"export": True},
        reason="the head's own export switch: returns only the probabilities",
        requires=REQUIRES,
        tested=TESTED,
    )
    flat = FunctionPatch(
        target=f"{_HEAD}:Classify.forward",
        replacement=_classify,
        reason="the mean over rows and columns in place of an adaptive pooling; flatten reads a shape",
        requires=REQUIRES,
        tested=TESTED,
    )
    return [switch, flat, *(_attention_patches(kinds) if static else [])]


def _attention_patches(kinds: set[type[nn.Module]]) -> list[Patch]:
    found: list[Patch] = []
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


def _forward_head(
    original: Any, self: Detect, x: list[torch.Tensor], box_head: Any = None, cls_head: Any = None
) -> dict[str, Any]:
    if box_head is None or cls_head is None:
        result: dict[str, Any] = original(self, x, box_head, cls_head)
        return result
    counts = [height * width for height, width in map(cell_counts, x)]
    boxes = [box_head[i](x[i]).view(-1, 4 * self.reg_max, counts[i]) for i in range(self.nl)]
    scores = [cls_head[i](x[i]).view(-1, self.nc, counts[i]) for i in range(self.nl)]
    return {"boxes": torch.cat(boxes, -1), "scores": torch.cat(scores, -1), "feats": x}


def _decode_boxes(original: Any, self: Detect, x: dict[str, Any]) -> torch.Tensor:
    points, strides = anchor_points([cell_counts(feature) for feature in x["feats"]], self.stride.tolist())
    distances = self.dfl(x["boxes"])  # (B, 4, N): left, top, right, bottom, in cells
    if "angle" in x:  # dist2rbox
        near, far, angle = distances[:, :2], distances[:, 2:], x["angle"]
        away = (far - near) / 2
        cos, sin = angle.cos(), angle.sin()
        turned = torch.cat((away[:, :1] * cos - away[:, 1:] * sin, away[:, :1] * sin + away[:, 1:] * cos), 1)
        return torch.cat((turned + points, near + far), 1) * strides
    low, high = points - distances[:, :2], points + distances[:, 2:]  # chunk would read a shape
    if self.end2end or self.xyxy:
        return torch.cat((low, high), 1) * strides
    return torch.cat(((low + high) / 2, high - low), 1) * strides


def _classify(original: Any, self: Any, x: Any) -> torch.Tensor:
    features = self.conv(torch.cat(x, 1) if isinstance(x, list) else x)
    likely: torch.Tensor = self.linear(features.mean((2, 3))).softmax(1)
    return likely


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
    height, width = cell_counts(x)
    qkv = self.qkv(x).view(-1, self.num_heads, self.key_dim * 2 + self.head_dim, height * width)
    q, k, v = qkv.split([self.key_dim, self.key_dim, self.head_dim], dim=2)
    weights = ((q.transpose(-2, -1) @ k) * self.scale).softmax(dim=-1)  # (B, heads, cells, cells)
    mixed = (v @ weights.transpose(-2, -1)).view(-1, channels, height, width)
    result: torch.Tensor = self.proj(mixed + self.pe(v.reshape(-1, channels, height, width)))
    return result


def _area_attention(original: Any, self: Any, x: torch.Tensor) -> torch.Tensor:
    height, width = cell_counts(x)
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
