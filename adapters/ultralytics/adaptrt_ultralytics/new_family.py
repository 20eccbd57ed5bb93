"""Shared by all networks with the anchor-free head: wrapper, spec, and Ultralytics' own inference pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptrt import (
    Conversion,
    DecoderSpec,
    Detections,
    Finding,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    Tolerance,
)
from adaptrt.checkpoint import warn_of_random_weights
from adaptrt.vision.images import read_image
from adaptrt_ultralytics.rebuild_modules import input_channels

if TYPE_CHECKING:
    from collections.abc import Sequence


class DecodedOutput(nn.Module):
    """The network with only its decoded output: float32 [B, 4 + nc, N], cx cy w h in input pixels, then scores."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs = self.network(images)
        decoded: torch.Tensor = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
        return decoded


def new_family_spec(ctx: Conversion, model: DecodedOutput) -> ModelSpec:
    """The spec, with the metadata that lets the ONNX file run in Ultralytics itself."""
    network: Any = model.network
    names = tuple(network.names[index] for index in sorted(network.names))
    stride = int(network.stride.max())
    height, width = _trained_size(network.args.get("imgsz"))
    if not ctx.request.trust_checkpoint and Path(network.pt_path).exists():
        note_rebuilt(ctx)
    if not Path(network.pt_path).exists():
        warn_of_random_weights(ctx, network.pt_path, "give a trained checkpoint (.pt)")
    spec = ModelSpec(
        inputs=(InputSpec.image(height, width, channels=input_channels(network)),),
        outputs=(OutputSpec("output0", groups=box_groups(boxes=(0, 4), scores=(4, 4 + len(names)), axis=1)),),
        task="detect",
        image=ImageTransform(resize="letterbox", stride=stride),
        decoder=DecoderSpec("yolo"),
        labels=names,
        exporter="torchscript",
    )
    spec, _ = ctx.request.shapes.apply(spec)
    return ModelSpec(**{**vars(spec), "metadata": ultralytics_metadata(network, spec)})


def note_rebuilt(ctx: Conversion) -> None:
    """Put into the report that the network was rebuilt; only link 0 compares it with the code that made it."""
    if not any(finding.rule == "rebuilt" for finding in ctx.findings):
        ctx.findings.append(
            Finding(
                rule="rebuilt",
                severity="info",
                operator="",
                count=1,
                message="The network is rebuilt from the class names in the checkpoint, which does not hold its code.",
                advice="Link 0 compares it with the framework: give --image.",
            )
        )


def box_groups(*, boxes: tuple[int, int], scores: tuple[int, int], axis: int) -> tuple[OutputGroup, ...]:
    """Boxes in pixels and scores, with a tolerance for each."""
    return (
        OutputGroup(
            "boxes",
            "pixels",
            axis,
            *boxes,
            tolerances={"fp32": Tolerance(0.02, 1e-5, "float32 sums in another order, times strides of up to 64")},
        ),
        OutputGroup("scores", "scores", axis, *scores),
    )


def ultralytics_metadata(network: Any, spec: ModelSpec) -> dict[str, str]:
    """The metadata that ``YOLO("file.onnx")`` reads. ``dynamic`` is true only if height and width are dynamic: Ultralytics
    then letterboxes to a rectangle, which a graph of fixed size rejects."""
    import ultralytics

    axes = spec.inputs[0].dims
    return {
        "description": f"Ultralytics {Path(str(network.yaml.get('yaml_file', 'YOLO'))).stem} model",
        "author": "Ultralytics",
        "version": ultralytics.__version__,
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": str(spec.image.stride if spec.image else 32),
        "task": "detect",
        "head": "Detect",
        "batch": str(axes[0].opt if not axes[0].dynamic else 1),
        "imgsz": str(list(spec.image_size)),
        "names": str(dict(enumerate(spec.labels))),
        "args": str({"batch": 1, "half": False, "dynamic": spec.dynamic_size, "nms": False}),
        "channels": str(axes[1].opt),
        "end2end": "False",
    }


def ultralytics_predictions(model: DecodedOutput, image: Path, spec: ModelSpec) -> Detections:
    """Ultralytics' own ``predict`` with this network: its letterbox, decoding and NMS, with the parameters of the spec.

    ``model`` must be a separate instance, since Ultralytics fuses and modifies it.
    """
    from ultralytics.models.yolo.detect import DetectionPredictor

    params = spec.decoder.params if spec.decoder else {}
    predictor = DetectionPredictor(
        overrides={
            "imgsz": list(spec.image_size),
            "rect": False,
            "conf": params.get("conf", 0.25),
            "iou": 1.0 if params.get("iou", 0.7) is None else params.get("iou", 0.7),  # no IoU is above 1
            "max_det": params.get("max_det", 300),
            "agnostic_nms": params.get("agnostic", False),
            "classes": _class_numbers(params.get("classes"), spec.labels),
            "verbose": False,
            "save": False,
            "device": "cpu",
            "mode": "predict",
        }
    )
    predictor.setup_model(model=model.network, verbose=False)
    # Ultralytics reads gray and color from a file; other bands it takes as an array
    source: Any = str(image) if spec.image_channels in (1, 3) else read_image(image, spec.image_channels)
    result: Any = next(iter(predictor(source=source, stream=True)))
    boxes = result.boxes.cpu().numpy()
    return Detections(
        np.asarray(boxes.xyxy, np.float32),
        np.asarray(boxes.conf, np.float32),
        np.asarray(boxes.cls, np.int64),
        tuple(result.names[index] for index in sorted(result.names)),
    )


def _class_numbers(classes: Sequence[int | str] | None, labels: Sequence[str]) -> list[int] | None:
    """Class indices: Ultralytics does not accept labels."""
    return None if classes is None else [labels.index(one) if one in labels else int(one) for one in classes]


def _trained_size(imgsz: Any) -> tuple[int, int]:
    if isinstance(imgsz, int):
        return imgsz, imgsz
    if isinstance(imgsz, (list, tuple)) and imgsz:
        return int(imgsz[0]), int(imgsz[-1])
    return 640, 640
