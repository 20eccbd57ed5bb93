"""Checkpoints whose network is not what the names of its classes say, and networks that are rebuilt without their code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from adversarial_cases import Case

pytest.importorskip("ultralytics", reason="the checkpoints are Ultralytics'")

TRAINED = Path(__file__).parents[1] / "fixtures" / "yolov5n_shapes.pt"
Change = Callable[[Any], None]


def checkpoint(change: Change) -> Callable[[Path, bool], str]:
    """Writes the trained checkpoint, with the change or as it is, and an image with something to find."""

    def write(folder: Path, wrong: bool) -> str:
        import cv2
        import draw_shapes
        import torch

        cv2.imwrite(str(folder / "image.png"), next(iter(draw_shapes.draw_detection_images(1, 77))).image)
        path = folder / "best.pt"
        if not wrong:
            shutil.copy(TRAINED, path)
            return str(path)
        contents = torch.load(TRAINED, map_location="cpu", weights_only=False)  # our own file
        network = contents.get("ema") or contents["model"]
        change(network)
        torch.save({**contents, "model": network, "ema": None}, path)
        return str(path)

    return write


def setting(name: str, value: Any, layer: int = 1) -> Change:
    return lambda model: setattr(model.model[layer], name, value)


def gate(channels: int) -> Any:
    from torch import nn

    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Sigmoid())


def register(kind: str) -> Change:
    """The hook is a function of the package, which a checkpoint may name."""

    def change(model: Any) -> None:
        from ultralytics.utils.torch_utils import scale_img

        getattr(model.model[1], kind)(scale_img)

    return change


def buffer(model: Any) -> None:
    import torch

    model.model[2].register_buffer("shift", torch.ones(1))


def parameter(model: Any) -> None:
    import torch

    model.model[2].gamma = torch.nn.Parameter(torch.ones(1))


def child_of_torch_layer(model: Any) -> None:
    model.model[0].conv.gate = gate(8)


def forward_of_another(model: Any) -> None:
    model.model[1].forward = model.model[0].forward


def short_forward(model: Any) -> None:
    model.model[1].forward = model.model[1].forward_fuse


def replaced_method(model: Any) -> None:
    model.model[-1].decode_bboxes = model.model[-1].bias_init


def renamed_child(model: Any) -> None:
    layer = model.model[2]
    layer.out = layer.cv2
    del layer.cv2


def extra_in_list(model: Any) -> None:
    from torch import nn

    model.model[-1].cv2.append(nn.Conv2d(16, 64, 1))


def foreign_layer(model: Any) -> None:
    from torch import nn

    model.model[2].m[0] = nn.LSTM(8, 8)


SHARED = "gate-in-a-known-class"  # all siblings are the trained checkpoint as it is


def _case(name: str, what: str, change: Change, error: str, **more: Any) -> Case:
    return Case(
        name=name,
        what=what,
        adapter="yolo",
        source=checkpoint(change),
        request={"image": "image.png", "batch": (1, 2, 3), "verify": "quick"},
        error=error,
        sibling="" if name == SHARED else SHARED,
        **more,
    )


CASES = (
    _case("forward-hook", "A layer has a forward hook", register("register_forward_hook"), "forward hook"),
    _case(
        "forward-pre-hook", "A layer has a forward pre-hook", register("register_forward_pre_hook"), "forward pre hook"
    ),
    _case(
        SHARED,
        "A fork's layer has the name of a known class, and a gate that its forward uses",
        lambda model: setattr(model.model[2], "se", gate(16)),
        r"model\.2 \(C3\) has se",
        everyday=True,
    ),
    _case("parameter", "A layer has a parameter that its class does not use", parameter, "gamma"),
    _case("buffer", "A layer has a buffer that its class does not use", buffer, "shift"),
    _case("number", "A layer has a number that its class does not use", setting("slope", 0.5), "slope"),
    _case("text", "A layer has a mode that its class does not have", setting("mode", "reversed"), "mode"),
    _case(
        "private-number", "A layer has a private number that its class does not use", setting("_slope", 0.5), "_slope"
    ),
    _case("child-of-a-torch-layer", "A torch convolution has a submodule", child_of_torch_layer, "gate"),
    _case(
        "neck-beside-the-layers",
        "The network has a module next to its layers",
        lambda model: setattr(model, "neck", gate(16)),
        "neck",
    ),
    _case(
        "number-of-the-network",
        "The network has a scale factor",
        lambda model: setattr(model, "scale_factor", 2.0),
        "scale_factor",
    ),
    _case(
        "forward-of-another-layer",
        "The forward of a layer is that of another layer",
        forward_of_another,
        "replaced forward",
    ),
    _case("batch-norm-left-out", "A layer uses its fused forward but still has its BatchNorm", short_forward, "has bn"),
    _case("replaced-method", "A method of the head is replaced on the instance", replaced_method, "decode_bboxes"),
    _case("renamed-child", "A layer has its convolution under another name", renamed_child, r"\bout\b"),
    _case("unused-level", "The head has a level that no feature map reaches", extra_in_list, "cv2"),
    _case("foreign-layer", "The class of a layer is not supported", foreign_layer, "LSTM"),
)
