"""Shared by all networks with the anchor-free head: wrapper, spec, and Ultralytics' own inference pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from adaptrt import (
    Conversion,
    Finding,
    InputSpec,
    ModelSpec,
    OutputGroup,
    Tolerance,
)
from adaptrt.checkpoint import warn_of_random_weights
from adaptrt_ultralytics.heads import decoded, decoder_of, is_end_to_end, outputs_of, transform_of
from adaptrt_ultralytics.rebuild_modules import input_channels


class DecodedOutput(nn.Module):
    """The network with only its decoded outputs, Ultralytics' ``output0`` (and ``output1``, prototypes of masks).

    For a detector ``output0`` is float32 [B, 4 + nc, N], cx cy w h in input pixels, then scores; ``heads`` has the others.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> Any:
        return decoded(self.network(images))


def new_family_spec(ctx: Conversion, model: DecodedOutput) -> ModelSpec:
    """The spec, with the metadata that lets the ONNX file run in Ultralytics itself."""
    network: Any = model.network
    names = tuple(network.names[index] for index in sorted(network.names))
    stride, head = int(network.stride.max()), network.model[-1]
    height, width = _trained_size(network.args.get("imgsz"), 224 if network.task == "classify" else 640)
    if not ctx.request.trust_checkpoint and Path(network.pt_path).exists():
        note_rebuilt(ctx)
    if not Path(network.pt_path).exists():
        warn_of_random_weights(ctx, network.pt_path, "use a trained checkpoint (.pt)")
    spec = ModelSpec(
        inputs=(InputSpec.image(height, width, channels=input_channels(network)),),
        outputs=outputs_of(head, len(names)),
        task=network.task,
        image=transform_of(network, stride),
        decoder=decoder_of(network),
        labels=names,
        exporter="torchscript",
    )
    spec, _ = ctx.request.shapes.apply(spec)
    return ModelSpec(**{**vars(spec), "metadata": ultralytics_metadata(network, spec)})


def note_rebuilt(ctx: Conversion) -> None:
    """Report that the network was rebuilt: only link 0 compares it with the original code."""
    if not any(finding.rule == "rebuilt" for finding in ctx.findings):
        ctx.findings.append(
            Finding(
                rule="rebuilt",
                severity="info",
                operator="",
                count=1,
                message="The network is rebuilt from the class names in the checkpoint, which does not contain its code.",
                advice="Pass --image, so that link 0 compares it with the framework.",
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

    axes, head = spec.inputs[0].dims, network.model[-1]
    keypoints = {"kpt_shape": str([int(number) for number in head.kpt_shape])} if spec.task == "pose" else {}
    return {
        "description": f"Ultralytics {Path(str(network.yaml.get('yaml_file', 'YOLO'))).stem} model",
        "author": "Ultralytics",
        "version": ultralytics.__version__,
        "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        "docs": "https://docs.ultralytics.com",
        "stride": str(spec.image.stride if spec.image else 32),
        "task": spec.task,
        "head": type(head).__name__,
        "batch": str(axes[0].opt if not axes[0].dynamic else 1),
        "imgsz": str(list(spec.image_size)),
        "names": str(dict(enumerate(spec.labels))),
        "args": str({"batch": 1, "half": False, "dynamic": spec.dynamic_size, "nms": False}),
        "channels": str(axes[1].opt),
        "end2end": str(is_end_to_end(head)),
        **keypoints,
    }


def _trained_size(imgsz: Any, default: int) -> tuple[int, int]:
    if isinstance(imgsz, int):
        return imgsz, imgsz
    if isinstance(imgsz, (list, tuple)) and imgsz:
        return int(imgsz[0]), int(imgsz[-1])
    return default, default
