"""Rebuilds the ``torch.nn`` layers that a YOLO checkpoint may contain from their recorded settings and tensors."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adaptrt.checkpoint import InertObject

# The settings passed to each constructor. A setting missing in an old file keeps the constructor's default.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
    "ConvTranspose2d": (
        "in_channels",
        "out_channels",
        "kernel_size",
        "stride",
        "padding",
        "output_padding",
        "groups",
        "dilation",
        "padding_mode",
    ),
    "Linear": ("in_features", "out_features"),
    "BatchNorm2d": ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    "LayerNorm": ("normalized_shape", "eps", "elementwise_affine"),
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "AdaptiveAvgPool2d": ("output_size",),
    "Upsample": ("size", "scale_factor", "mode", "align_corners"),
    "ZeroPad2d": ("padding",),
    "Dropout": ("p",),
    "Identity": (),
    "SiLU": (),
    "ReLU": (),
    "ReLU6": (),
    "LeakyReLU": ("negative_slope",),
    "ELU": ("alpha",),
    "CELU": ("alpha",),
    "SELU": (),
    "GELU": ("approximate",),
    "Hardswish": (),
    "Hardsigmoid": (),
    "Hardtanh": ("min_val", "max_val"),
    "Mish": (),
    "Softplus": ("beta", "threshold"),
    "Softsign": (),
    "Sigmoid": (),
    "Tanh": (),
    "PReLU": ("num_parameters",),
    "Softmax": ("dim",),
}
LEAVES: Mapping[str, type[nn.Module]] = {name: getattr(nn, name) for name in SETTINGS}
MAX_SETTING = 1 << 20  # far above any channel count, low enough not to exhaust memory


def build_leaf(recorded: InertObject) -> nn.Module:
    """The layer without tensor values (its tensors are on the meta device until ``load_tensors``).

    ``ValueError`` if the layer does not accept the settings.
    """
    kind, name = LEAVES[recorded.name], recorded.name
    attributes = recorded.attributes
    settings = {key: _checked(key, attributes[key]) for key in SETTINGS[name] if key in attributes}
    if name in ("Conv2d", "ConvTranspose2d", "Linear"):
        settings["bias"] = recorded.mapping("_parameters").get("bias") is not None
    if name == "Upsample" and not all(0 < factor <= 8 for factor in _numbers(settings.get("scale_factor"))):
        raise ValueError(f"Upsample by {settings['scale_factor']}")
    with torch.device("meta"):
        return kind(**settings)


def load_tensors(module: nn.Module, recorded: InertObject) -> None:
    """Assign the recorded parameters and buffers, float32. Names and shapes must match those of the module.

    A module that has none yet (not built by its constructor) accepts any.
    """
    stores: dict[str, dict[str, Any]] = {"_parameters": module.__dict__["_parameters"], "_buffers": module._buffers}
    for kind, own in stores.items():
        found = {key: value for key, value in recorded.mapping(kind).items() if value is not None}
        expected = {key: value for key, value in own.items() if value is not None}
        if isinstance(module, tuple(LEAVES.values())):
            missing = expected.keys() - found.keys() - {"num_batches_tracked"}
            if missing or found.keys() - expected.keys():
                raise ValueError(f"its tensors are {sorted(found)}; expected {sorted(expected)}")
        for key, value in found.items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"{key} is not a tensor")
            if key in expected and expected[key].shape != value.shape:
                raise ValueError(f"{key} has shape {tuple(value.shape)}; expected {tuple(expected[key].shape)}")
            value = value.float() if value.is_floating_point() else value
            own[key] = nn.Parameter(value, requires_grad=False) if kind == "_parameters" else value
        for key in expected.keys() - found.keys():  # files older than BatchNorm's num_batches_tracked
            own[key] = torch.zeros_like(expected[key], device="cpu")


def _numbers(value: Any) -> tuple[Any, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _checked(key: str, value: Any) -> Any:
    """The setting, if it is plain data of a valid size."""
    for number in _numbers(value):
        if not isinstance(number, (bool, int, float, str)) or (
            not isinstance(number, (bool, str)) and not -MAX_SETTING < number < MAX_SETTING
        ):
            raise ValueError(f"{key} is {reprlib.repr(value)}")
    return tuple(value) if isinstance(value, list) else value
