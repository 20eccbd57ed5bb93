"""Networks of Ultralytics with random weights that still see: activations of a sane size, scores that depend on the image, and
rounding errors that stay small.

For shapes and graphs alone: what such a network finds means nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

SPREAD, LOWEST = 2.0, -3.0  # of the logits: far enough apart that a last bit does not change their order
SHIFT = 2.0
"""Of every BatchNorm, so that SiLU works where it is nearly linear. Around 0, a deep network of random weights amplifies a
rounding error a hundred times as much, and float32 does not determine what it finds."""


@torch.no_grad()
def calibrate(model: Any, images: torch.Tensor) -> Any:
    """Set the statistics of the BatchNorms from ``images`` and spread the scores of every head, in place."""
    model.eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.bias.fill_(SHIFT)
        norm.momentum = None  # the mean over what it sees
        norm.train()
    model(images)
    model.eval()
    head = model.model[-1]
    for name in ("cv3", "one2one_cv3"):
        for branch in getattr(head, name, None) or []:
            _spread(branch[-1], model, images)
    if hasattr(head, "linear"):
        _spread(head.linear, model, images)
    return model


def _spread(layer: Any, model: Any, images: torch.Tensor) -> None:
    found: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    model(images)
    hook.remove()
    layer.weight.mul_(SPREAD / found[0].std())
    layer.bias.fill_(LOWEST)
