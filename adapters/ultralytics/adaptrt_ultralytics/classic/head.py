"""The heads of classic networks. The anchor head includes its decoding, written so that it exports without shape arithmetic.

Each cell of a level predicts ``na`` boxes of ``5 + nc`` values, each passed through a sigmoid ``s``: center
``(2 s - 0.5 + cell) * stride``, size ``(2 s)^2 * anchor``, objectness, classes. The formulas are published in YOLOv5's
"Architecture Summary" (https://docs.ultralytics.com/yolov5/tutorials/architecture_description/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


class Proto(nn.Module):
    """Prototypes of masks from the finest feature map: [B, C, H, W] to [B, nm, 2 H, 2 W]."""

    cv1: nn.Module
    upsample: nn.Module
    cv2: nn.Module
    cv3: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        prototypes: Tensor = self.cv3(self.cv2(self.upsample(self.cv1(x))))
        return prototypes


class Classify(nn.Module):
    """A feature map to logits, [B, nc]."""

    conv: nn.Module
    pool: nn.Module
    drop: nn.Module
    linear: nn.Linear

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        features = x if isinstance(x, Tensor) else torch.cat(list(x), 1)
        logits: Tensor = self.linear(self.drop(self.pool(self.conv(features)).flatten(1)))
        return logits


class AnchorDetect(nn.Module):
    """Feature maps, finest first, to boxes: float32 [B, N, 5 + nc + extras].

    Columns: cx, cy, w, h in input pixels, objectness, class scores, and ``extras`` as the convolution gives them. Rows: level by level, in each anchor by anchor, in
    each the cells row by row. ``anchors``: float32 [nl, na, 2], width and height in input pixels. ``stride``: [nl].

    With ``dynamic`` the grid is computed from the input shape inside the graph; otherwise ``constants`` fix it.
    """

    anchors: Tensor
    stride: Tensor
    offset: Tensor
    scale: Tensor
    area: Tensor

    def __init__(self, convs: Sequence[nn.Module], anchors: Tensor, stride: Tensor, nc: int, extras: int = 0) -> None:
        super().__init__()
        self.nc, self.no = nc, nc + 5 + extras
        self.extras = extras
        self.nl, self.na = anchors.shape[:2]
        self.m = nn.ModuleList(convs)
        self.dynamic = False
        self.strides = [float(step) for step in stride]  # Python numbers, so that they become constants in the graph
        self.sizes: list[tuple[int, int]] = []  # feature map sizes that the constants below are for
        self.register_buffer("anchors", anchors.float(), persistent=False)
        self.register_buffer("stride", stride.float(), persistent=False)
        for name in ("offset", "scale", "area"):
            self.register_buffer(name, torch.zeros(0), persistent=False)

    def constants(self, height: int, width: int) -> dict[str, Any]:
        """The attributes that make the grid constant for inputs of this size, in pixels; for other sizes, the grid is
        recomputed."""
        sizes = [(round(height / step), round(width / step)) for step in self.strides]
        return {"sizes": sizes, **dict(zip(("offset", "scale", "area"), self._grids(sizes), strict=True))}

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [conv(feature) for conv, feature in zip(self.m, features, strict=True)]
        if self.dynamic:
            sizes = [(x.shape[2], x.shape[3]) for x in maps]
            offset, scale, area = self._grids(sizes)
            rows = [x.reshape(x.shape[0], self.na, self.no, -1).transpose(2, 3) for x in maps]  # (B, na, cells, no)
            boxes = torch.cat([x.reshape(x.shape[0], -1, self.no) for x in rows], 1)
        else:
            sizes = [(int(x.shape[2]), int(x.shape[3])) for x in maps]
            kept = self.offset, self.scale, self.area
            offset, scale, area = kept if sizes == self.sizes else self._grids(sizes)
            boxes = torch.cat([self._rows(x, size) for x, size in zip(maps, sizes, strict=True)], 1)  # (B, N, no)
        # Pixel coordinates need float32 even in a reduced-precision network: from 512 on, float16 values are 0.5 apart.
        boxes = boxes if boxes.dtype == torch.float32 else boxes.float()
        likely = boxes[..., : 5 + self.nc].sigmoid() if self.extras else boxes.sigmoid()
        center, size, scores = likely[..., 0:2], likely[..., 2:4], likely[..., 4:]
        rest = (boxes[..., 5 + self.nc :],) if self.extras else ()
        return torch.cat((center * scale + offset, size * size * area, scores, *rest), -1)

    def _rows(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, na * no, ny, nx] to [B, na * ny * nx, no]."""
        cells = size[0] * size[1]
        x = x.reshape(-1, self.na, self.no, cells).transpose(2, 3)  # (B, na, cells, no)
        return x.reshape(-1, self.na * cells, self.no)

    def _grids(self, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, Tensor]:
        """Decoding constants: offset [1, N, 2], scale [1, N, 1], area [1, N, 2].

        center ``(2 s - 0.5 + cell) * stride = s * scale + offset``; size ``(2 s)^2 * anchor = s^2 * area``.
        """
        offsets, scales, areas = [], [], []
        for (ny, nx), step, anchors in zip(sizes, self.strides, self.anchors, strict=True):
            like = {"dtype": torch.float32, "device": anchors.device}
            y = torch.arange(ny, **like).reshape(-1, 1).expand(ny, nx)
            x = torch.arange(nx, **like).reshape(1, -1).expand(ny, nx)
            offset = (torch.stack((x, y), -1).reshape(1, -1, 2) - 0.5) * step  # (1, cells, 2)
            offsets.append(offset.repeat(1, self.na, 1))
            scales.append(torch.full_like(offsets[-1][..., :1], 2 * step))
            area = anchors.reshape(1, self.na, 1, 2).expand(1, self.na, ny * nx, 2)
            areas.append(4 * area.reshape(1, -1, 2))
        return torch.cat(offsets, 1), torch.cat(scales, 1), torch.cat(areas, 1)


class AnchorSegment(nn.Module):
    """Feature maps to rows with mask coefficients, [B, N, 5 + nc + nm], and prototypes, [B, nm, H, W]."""

    def __init__(self, detect: AnchorDetect, proto: nn.Module) -> None:
        super().__init__()
        self.detect = detect
        self.proto = proto

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return self.detect(features), self.proto(features[0])
