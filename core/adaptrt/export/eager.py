"""The reference: the model itself, eager, float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptrt.export.wrapper import flatten_outputs, require_count

if TYPE_CHECKING:
    from numpy.typing import NDArray


class EagerRunner:
    """Runs a torch module on arrays; ``names`` rename its outputs, in order."""

    backend = "eager"

    def __init__(self, model: nn.Module, names: tuple[str, ...] = ()) -> None:
        self._model = model
        self._names = names

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in inputs.values()]
        with torch.inference_mode():
            results = flatten_outputs(self._model(*tensors))
        if self._names:
            require_count(len(results), len(self._names), tensors)
        return {
            name: tensor.cpu().numpy().copy()
            for name, tensor in zip(self._names or tuple(results), results.values(), strict=True)
        }

    def close(self) -> None:
        """No-op: there is nothing to free."""
