"""Translates mmdet's test pipeline and data preprocessor to adaptrt's image transform."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from adaptrt import ImageTransform

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

_SPELLINGS: dict[str, Literal["nearest", "linear", "cubic", "area"]] = {
    "nearest": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
    "area": "area",
}


@dataclass(frozen=True)
class TestImages:
    """``height`` x ``width`` in pixels, and the pixel normalization; ``keep_ratio`` is the config's setting, not ours."""

    __test__ = False  # not a test class

    height: int
    width: int
    keep_ratio: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr_to_rgb: bool
    interpolation: Literal["nearest", "linear", "cubic", "area"]
    library: Literal["cv2", "pil"]
    pad: int | None

    def transform(self, resize: Literal["stretch", "letterbox"], *, stride: int) -> ImageTransform:
        """mmdet pads at the bottom and right, and normalizes values in 0 to 255."""
        return ImageTransform(
            resize=resize,
            interpolation=self.interpolation,
            library=self.library,
            colors="rgb" if self.bgr_to_rgb else "bgr",
            scale=1.0,
            mean=self.mean,
            std=self.std,
            pad=self.pad,
            center=False,
            stride=stride,
        )


def read_test_images(config: Config, *, stride: int) -> TestImages:
    """The image size is the pipeline's, rounded up to ``stride``; 640 x 640 if the pipeline has none."""
    steps = list(_flat(test_pipeline(config)))
    resize: Any = next((step for step in steps if _kind(step) in ("Resize", "FixScaleResize")), {})
    pad: Any = next((step for step in steps if _kind(step) == "Pad"), {})
    scale = resize.get("scale") or pad.get("size") or (640, 640)
    width, height = (scale, scale) if isinstance(scale, int) else (int(scale[0]), int(scale[1]))
    preprocessor = config.model.get("data_preprocessor") or {}
    pad_value = pad.get("pad_val", 0)
    if hasattr(pad_value, "get"):
        pad_value = pad_value.get("img", 0)
    if isinstance(pad_value, (list, tuple)):
        pad_value = pad_value[0]
    backend = resize.get("backend", "cv2")
    return TestImages(
        height=-(-height // stride) * stride,
        width=-(-width // stride) * stride,
        keep_ratio=bool(resize.get("keep_ratio", False)),
        mean=_per_channel(preprocessor.get("mean"), 0.0),
        std=_per_channel(preprocessor.get("std"), 1.0),
        bgr_to_rgb=bool(preprocessor.get("bgr_to_rgb", False)),
        interpolation=_SPELLINGS.get(resize.get("interpolation", "bilinear"), "linear"),
        library="pil" if backend == "pillow" else "cv2",
        pad=int(pad_value) if pad else None,
    )


def size_multiple(config: Config, stride: int) -> int:
    """What height and width are multiples of: ``stride`` where images are padded, else what mmdet pads them to (SSD: 1)."""
    resize: Any = next((step for step in _flat(test_pipeline(config)) if _kind(step) == "Resize"), {})
    if resize.get("keep_ratio", True):
        return stride
    return int((config.model.get("data_preprocessor") or {}).get("pad_size_divisor", 1) or 1)


def test_pipeline(config: Config) -> list[Any]:
    """The pipeline of the test dataloader, else the config variable ``test_pipeline``."""
    loader = config.get("test_dataloader") or config.get("val_dataloader") or {}
    dataset = loader.get("dataset") or {}
    while "dataset" in dataset and "pipeline" not in dataset:  # wrappers of datasets
        dataset = dataset["dataset"]
    return list(dataset.get("pipeline") or config.get("test_pipeline") or [])


test_pipeline.__test__ = False  # type: ignore[attr-defined]


def _flat(steps: Iterable[Any]) -> Iterable[Any]:
    for step in steps:
        if not hasattr(step, "get"):
            continue
        yield step
        for inner in step.get("transforms") or []:
            yield from _flat(inner if isinstance(inner, (list, tuple)) else [inner])


def _kind(step: Any) -> str:
    kind = step.get("type")
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).rpartition(".")[2]


def _per_channel(values: Any, default: float) -> tuple[float, ...]:
    return (default,) if not values else tuple(float(value) for value in values)


def input_channels(detector: nn.Module) -> int:
    """The number of image channels of a detector: that of its first convolution, or a quarter of it in YOLOX."""
    focus = ""
    for name, module in detector.named_modules():
        if type(module).__name__ == "Focus":
            focus = f"{name}."
        if isinstance(module, torch.nn.Conv2d):
            channels = int(module.in_channels)
            return channels // 4 if focus and name.startswith(focus) else channels
    return 3
