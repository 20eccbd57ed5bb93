"""The stand-in repository as files: a checkout that ``--set repo`` can name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path

HEADER = """from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

"""
AUGMENTATIONS = """
import cv2


def letterbox(im, new_shape=(640, 640), color=(114, 114, 114), auto=True, scaleFill=False, scaleup=True, stride=32):
    height, width = im.shape[:2]
    ratio = min(new_shape[0] / height, new_shape[1] / width)
    inner = (round(width * ratio), round(height * ratio))
    dw, dh = (new_shape[1] - inner[0]) / 2, (new_shape[0] - inner[1]) / 2
    if inner != (width, height):
        im = cv2.resize(im, inner, interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(im, top, bottom, left, right, cv2.BORDER_CONSTANT, value=color), ratio, (dw, dh)
"""
GENERAL = """
import torch
import torchvision


def non_max_suppression(prediction, conf_thres=0.25, iou_thres=0.45, classes=None, agnostic=False, multi_label=False,
                        max_det=300, nm=0):
    results = []
    for x in prediction:
        mi = x.shape[1] - nm
        scores = x[:, 4:5] * x[:, 5:mi]
        conf, cls = scores.max(1, keepdim=True)
        half = x[:, 2:4] / 2
        boxes = torch.cat((x[:, :2] - half, x[:, :2] + half), 1)
        rows = torch.cat((boxes, conf, cls.float(), x[:, mi:]), 1)[conf[:, 0] > conf_thres]
        offset = rows[:, 5:6] * (0 if agnostic else 7680)
        kept = torchvision.ops.nms(rows[:, :4] + offset, rows[:, 4], iou_thres)[:max_det]
        results.append(rows[kept])
    return results

"""

CLASSIFY = """

class ToTensor:
    def __call__(self, im):
        return torch.from_numpy(np.ascontiguousarray(im.transpose((2, 0, 1))[::-1])).float() / 255


def classify_transforms(size=224):
    from torchvision import transforms

    return transforms.Compose([CenterCrop(size), ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
"""
MASKS = """
import torch
import torch.nn.functional as F


def process_mask_native(protos, masks_in, bboxes, shape):
    count, height, width = protos.shape
    masks = (masks_in @ protos.float().view(count, -1)).sigmoid().view(-1, height, width)
    gain = min(height / shape[0], width / shape[1])
    pad = (width - shape[1] * gain) / 2, (height - shape[0] * gain) / 2
    top, left, bottom, right = int(pad[1]), int(pad[0]), int(height - pad[1]), int(width - pad[0])
    masks = F.interpolate(masks[None, :, top:bottom, left:right], shape, mode="bilinear", align_corners=False)[0]
    x1, y1, x2, y2 = (side[:, None, None] for side in bboxes.T)
    rows, columns = torch.arange(shape[0])[None, :, None], torch.arange(shape[1])[None, None, :]
    return (masks > 0.5) & (rows >= y1) & (rows < y2) & (columns >= x1) & (columns < x2)
"""


def write_repository(folder: Path, homes: Mapping[str, Iterable[type]]) -> Path:
    """``models/common.py``, ``models/yolo.py`` and ``utils`` in ``folder``, out of the sources of the classes."""
    for name in ("models", "utils", "utils/segment"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").touch()
    for home, kinds in homes.items():
        sources = "\n\n".join(inspect.getsource(kind) for kind in kinds)
        imports = "from models.common import Conv, Proto\n\n\n" if home == "models.yolo" else ""
        (folder / f"{home.replace('.', '/')}.py").write_text(HEADER + imports + sources)
    crops = (folder / "utils" / "augmentations.py").read_text()
    (folder / "utils" / "augmentations.py").write_text(f"{crops}\nimport numpy as np\n{AUGMENTATIONS}{CLASSIFY}")
    (folder / "utils" / "segment" / "general.py").write_text(MASKS)
    (folder / "utils" / "general.py").write_text(GENERAL)
    return folder
