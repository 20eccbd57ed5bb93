"""Adapter ``torch``: any module, by ``module:attribute``, ``file.py:attribute``, ``.pt2`` or TorchScript file."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

from adaptrt import Conversion, ModelSpec, hookimpl
from adaptrt_torch.options import TorchOptions

if TYPE_CHECKING:
    import torch
    from torch import nn


@hookimpl
def adapter_options() -> type[TorchOptions]:
    return TorchOptions


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    from adaptrt_torch.loading import load

    return load(ctx)


@hookimpl
def model_spec(ctx: Conversion, model: nn.Module) -> ModelSpec:
    from adaptrt_torch.describing import describe

    return describe(ctx, model)


@hookimpl(wrapper=True)
def example_inputs(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> Generator[None, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The core's samples, with values in the requested ranges."""
    tensors = yield
    if not ctx.options.ranges:
        return tensors
    from adaptrt_torch.describing import values_in_ranges

    return {**tensors, **values_in_ranges(ctx, spec, shapes, seed)}
