"""Rebuilds the ``torch.nn`` layers that a YOLO checkpoint may contain from their recorded settings and tensors."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from adaptrt_ultralytics.unused import reason_unused

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
    "Embedding": ("num_embeddings", "embedding_dim"),
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
    "MultiheadAttention": ("embed_dim", "num_heads", "dropout", "batch_first"),
    "NonDynamicallyQuantizableLinear": ("in_features", "out_features"),
}
LEAVES: Mapping[str, type[nn.Module]] = {name: getattr(nn, name, NonDynamicallyQuantizableLinear) for name in SETTINGS}
_TAGS = frozenset({"i", "f"})  # which layers feed this one
_DERIVED = frozenset({"_reversed_padding_repeated_twice"})  # of padding, and used where the border is not zeros
# Attributes of other versions of torch, with the value that changes nothing.
_OLD_DEFAULTS: Mapping[str, Any] = {
    "name": "Upsample",
    "recompute_scale_factor": None,
    "return_indices": False,
    "output_padding": (0, 0),
    "transposed": False,
    "num_batches_tracked": None,
}
_ABSENT = object()
MAX_SETTING = 1 << 20  # far above any channel count, far below what would exhaust memory


def build_leaf(recorded: InertObject) -> nn.Module:
    """The layer without tensor values (its tensors are on the meta device until ``load_tensors``).

    ``ValueError`` if the layer does not accept the settings.
    """
    kind, name = LEAVES[recorded.name], recorded.name
    attributes = recorded.attributes
    settings = {key: _checked(key, attributes[key]) for key in SETTINGS[name] if key in attributes}
    if issubclass(kind, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        settings["bias"] = recorded.mapping("_parameters").get("bias") is not None
    if kind is nn.MultiheadAttention:
        settings["bias"] = recorded.mapping("_parameters").get("in_proj_bias") is not None
    if name == "Upsample" and not all(0 < factor <= 8 for factor in _numbers(settings.get("scale_factor"))):
        raise ValueError(f"Upsample by {settings['scale_factor']}")
    with torch.device("meta"):
        leaf = kind(**settings)
    _require_same_settings(leaf, recorded)
    return leaf


def _require_same_settings(leaf: nn.Module, recorded: InertObject) -> None:
    """Reject settings of a torch layer that its class does not have, or that differ from those it was built with."""
    children = recorded.mapping("_modules")
    others = [name for name, child in children.items() if child is not None and name not in leaf._modules]
    if others:
        raise ValueError(f"it contains {', '.join(others[:3])}, which torch's {recorded.name} does not have")
    for name, value in recorded.attributes.items():
        if name in _DERIVED and getattr(leaf, "padding_mode", "zeros") == "zeros":
            continue
        if name in _TAGS or reason_unused(recorded.name, name):
            continue
        own = leaf.__dict__.get(name, _OLD_DEFAULTS.get(name, _ABSENT))
        if own is _ABSENT or not _same(own, value):
            raise ValueError(
                f"its {name} is {reprlib.repr(value)}, "
                + (f"which torch's {recorded.name} does not have" if own is _ABSENT else f"not {reprlib.repr(own)}")
            )


def _same(own: Any, value: Any) -> bool:
    if isinstance(own, (tuple, list)) and isinstance(value, (tuple, list)):
        return len(own) == len(value) and all(map(_same, own, value))
    return (
        type(own) in (bool, int, float, str, type(None))
        and isinstance(value, (bool, int, float, str, type(None)))
        and (own == value)
    )


def load_tensors(module: nn.Module, recorded: InertObject) -> None:
    """Assign the recorded parameters and buffers, float32. Names and shapes must match those of the module.

    A module that has none yet (not built by its constructor) accepts any.
    """
    stores: dict[str, dict[str, Any]] = {"_parameters": module.__dict__["_parameters"], "_buffers": module._buffers}
    for kind, own in stores.items():
        found = {key: value for key, value in recorded.mapping(kind).items() if value is not None}
        expected = {key: value for key, value in own.items() if value is not None}
        if type(module) in LEAVES.values():
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
