"""Adapter ``tiny`` for the framework ``tinyvision``: an adapter as others are, for tests. The source names a net."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt import (
    Conversion,
    DecoderSpec,
    Detections,
    Dim,
    FunctionPatch,
    ImageTransform,
    InputSpec,
    ModelError,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Patch,
    SwitchPatch,
    hookimpl,
)
from adaptrt.errors import did_you_mean

if TYPE_CHECKING:
    import torch
    from torch import nn

LABELS = ("red", "green", "blue")
BATCH = Dim(1, 2, 4, "batch")


@dataclass(frozen=True)
class TinyOptions:
    """``patched``: whether the adapter's patches are applied. ``exporter``: what ``auto`` takes."""

    patched: bool = True
    exporter: str = "torchscript"


@hookimpl
def adapter_options() -> type[TinyOptions]:
    return TinyOptions


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    from tinyvision.nets import NETS, seeded

    name = Path(ctx.request.source).stem
    if name not in NETS:
        raise ModelError(f"tinyvision has no net {name!r}.", hint=did_you_mean(name, NETS))
    return seeded(NETS[name]())


@hookimpl
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec:
    name = type(model).__name__.lower()
    exporter = ctx.options.exporter
    if name == "twoinputs":
        vectors = tuple(InputSpec(name, ((BATCH, Dim.fixed(4)),)) for name in ("a", "b"))
        return ModelSpec(inputs=vectors, exporter=exporter)
    images = (InputSpec.image(64, 64, batch=BATCH),)
    if name == "detector":
        groups = (
            OutputGroup("boxes", "pixels", axis=1, start=0, stop=4),
            OutputGroup("scores", "scores", axis=1, start=4),
        )
        return ModelSpec(
            inputs=images,
            outputs=(OutputSpec("output0", groups=groups),),
            task="detect",
            image=ImageTransform(stride=8),
            decoder=DecoderSpec("yolo", {"conf": 0.5}),
            labels=LABELS,
            metadata={"stride": "8"},
            exporter=exporter,
        )
    return ModelSpec(
        inputs=images,
        outputs=(OutputSpec("logits", groups=(OutputGroup("logits", "logits"),)),),
        task="classify",
        image=ImageTransform(resize="stretch"),
        decoder=DecoderSpec("classify", {"top_k": 3}),
        labels=LABELS,
        exporter=exporter,
    )


@hookimpl
def patches(ctx: Conversion, model: nn.Module, spec: ModelSpec) -> Iterable[Patch]:
    if type(model).__name__ != "Detector" or spec.dynamic_size or not ctx.options.patched:
        return []
    return [
        FunctionPatch(
            target="tinyvision.nets:cell_centers",
            replacement=_constant_centers,
            reason="the centers of a fixed size are constants, not Range and Expand",
            requires="torch>=2",
            tested="torch>=2",
        ),
        SwitchPatch(
            target="tinyvision.nets:Flatten",
            values={"static": True},
            reason="the framework's own switch against shape reads",
            requires="torch>=2",
            tested="torch>=2",
        ),
    ]


@hookimpl
def framework_predictions(ctx: Conversion, image: Path, spec: ModelSpec) -> Detections | None:
    """The framework's own road, which shares no code with adaptrt's: OpenCV's letterbox and NMS around the net."""
    import cv2
    import numpy as np
    import torch

    net = load_model(ctx)
    if type(net).__name__ != "Detector":
        return None
    bgr = cv2.imread(str(image))
    height, width = bgr.shape[:2]
    ratio = min(64 / height, 64 / width)
    inner = cv2.resize(bgr, (round(width * ratio), round(height * ratio)))
    top, left = ((64 - side) // 2 for side in inner.shape[:2])
    boxed = np.full((64, 64, 3), 114, np.uint8)
    boxed[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    with torch.inference_mode():
        (raw,) = net(torch.from_numpy(boxed[..., ::-1].transpose(2, 0, 1).astype(np.float32)[None] / 255)).numpy()
    centers, sizes, scores = raw[:2].T, raw[2:4].T, raw[4:].T  # each [N, ...]
    corners = np.hstack((centers - sizes / 2, sizes))
    conf = spec.decoder.params["conf"] if spec.decoder else 0.5
    kept = cv2.dnn.NMSBoxesBatched(corners.tolist(), scores.max(1).tolist(), scores.argmax(1).tolist(), conf, 0.7)
    kept = sorted(kept, key=lambda index: -scores[index].max())
    boxes = (np.hstack((centers - sizes / 2, centers + sizes / 2))[kept] - (left, top, left, top)) / ratio
    boxes = boxes.reshape(-1, 4).clip(0, (width, height, width, height)).astype(np.float32)
    return Detections(boxes, scores.max(1)[kept], scores.argmax(1)[kept], LABELS)


def _constant_centers(original: Callable[[int, int], torch.Tensor], height: int, width: int) -> torch.Tensor:
    return original(int(height), int(width)).detach()
