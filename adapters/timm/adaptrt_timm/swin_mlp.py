"""The MLP of a block, with the constants of GELU folded into the adjacent weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

_SQRT_HALF = 0.5**0.5


class FoldedMlp(nn.Module):
    """timm's ``Mlp`` with GELU: [..., C] to the same.

    GELU(x) = x / 2 * (1 + erf(x / sqrt(2))) is u * (1 + erf(u)) / sqrt(2) with u = x / sqrt(2).
    """

    def __init__(self, mlp: Any) -> None:
        super().__init__()
        self.inner, self.outer = copy.deepcopy(mlp.fc1), copy.deepcopy(mlp.fc2)
        with torch.no_grad():
            self.inner.weight *= _SQRT_HALF
            if self.inner.bias is not None:
                self.inner.bias *= _SQRT_HALF
            self.outer.weight *= _SQRT_HALF

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        result: torch.Tensor = self.outer(x * (torch.erf(x) + 1))
        return result


def folded_mlp(mlp: Any) -> nn.Module:
    """The folded MLP if it has two layers with the exact GELU between them, else the MLP itself."""
    exact = isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none"
    found: nn.Module = FoldedMlp(mlp) if exact and isinstance(mlp.norm, nn.Identity) else mlp
    return found
