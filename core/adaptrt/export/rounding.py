"""A model whose weights are rounded differently: what float32 itself leaves open of its result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn

_STEP = 2.0**-23  # one unit in the last place of float32


@contextmanager
def weights_rounded_differently(model: nn.Module, generator: torch.Generator) -> Iterator[None]:
    """Move every floating-point parameter and buffer by one unit in the last place of float32, up or down at random.

    That changes each layer's result by about as much as another order of its sums does. The weights are restored.
    """
    tensors = {id(one): one for one in chain(model.parameters(), model.buffers()) if one.is_floating_point()}
    kept = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    try:
        with torch.no_grad():
            for tensor in tensors.values():
                tensor.copy_(moved(tensor, generator))
        yield
    finally:
        with torch.no_grad():
            for key, tensor in tensors.items():
                tensor.copy_(kept[key])


def moved(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every element times ``1 + s``, with ``s`` one unit in the last place of float32, of random sign."""
    signs = torch.randint(0, 2, tensor.shape, generator=generator, dtype=tensor.dtype) * 2 - 1
    return tensor.detach() * (1 + _STEP * signs)
