"""An adapter for the contracts of other plugins: a small network on images, with seeded weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt import Conversion, InputSpec, ModelSpec, hookimpl

if TYPE_CHECKING:
    from torch import nn

ENTRY_POINTS = {"adaptrt.adapters": {"contract-model": "adaptrt.testing.model"}}


@hookimpl
def load_model(ctx: Conversion) -> nn.Module:
    import torch
    from torch import nn

    torch.manual_seed(ctx.request.seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


@hookimpl
def model_spec() -> ModelSpec:
    return ModelSpec(inputs=(InputSpec.image(16, 16),))
