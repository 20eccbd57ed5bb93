"""The trained models of tests/fixtures, as sources of conversions: the ones that every backend is tested with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parents[1] / "fixtures"
SIZE = {"imgsz": 320}


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """``file``: what was trained, below tests/fixtures; ``framework``: the package that its ``adapter`` needs.

    ``write(folder)`` returns the source of a conversion, ``options`` are those of ``adaptrt.convert``.
    """

    file: str
    adapter: str
    framework: str
    write: Callable[[Path], Path]
    options: Mapping[str, Any] = field(default_factory=dict)


def _source(name: str) -> Callable[[Path], Path]:
    return lambda _: FIXTURES / name


def _head(task: str) -> TrainedModel:
    def write(folder: Path) -> Path:
        import shapes_models

        return shapes_models.write_checkpoint(task, folder / f"{task}.pt")

    return TrainedModel(file=f"heads/{task}.npz", adapter="yolo", framework="ultralytics", write=write, options=SIZE)


def _classic_segment(folder: Path) -> Path:
    from classic_networks import Classic

    classic = Classic(folder)
    return classic.save(classic.as_trained(classic.trained_segmenter()), "classic_segment.pt")


TRAINED: Mapping[str, TrainedModel] = {
    "yolov5": TrainedModel(
        file="yolov5n_shapes.pt",
        adapter="yolov5",
        framework="ultralytics",
        write=_source("yolov5n_shapes.pt"),
        options=SIZE,
    ),
    "segment": _head("segment"),
    "pose": _head("pose"),
    "obb": _head("obb"),
    "classic_segment": TrainedModel(
        file="heads/classic_segment.npz",
        adapter="yolov5",
        framework="ultralytics",
        write=_classic_segment,
        options=SIZE,
    ),
    "swin": TrainedModel(
        file="swin_shapes/model.safetensors", adapter="swin", framework="timm", write=_source("swin_shapes")
    ),
    "detr": TrainedModel(file="detr_shapes.pth", adapter="detr", framework="mmdet", write=_source("detr_shapes.pth")),
    "mask_rcnn": TrainedModel(
        file="mask_rcnn_shapes.pth", adapter="mmdet", framework="mmdet", write=_source("mask_rcnn_shapes.pth")
    ),
}
