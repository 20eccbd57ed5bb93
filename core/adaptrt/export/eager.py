"""The reference: the model itself in eager mode, in its own precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from adaptrt.errors import ModelError
from adaptrt.export.wrapper import flatten_outputs, require_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.tensors import Arrays


class EagerRunner:
    """Runs a torch module on copies of arrays; ``names`` rename its outputs, in order.

    ``written`` names the inputs that the model has written into, on a CPU only. A float64 model gets float64 inputs.
    """

    def __init__(self, model: nn.Module, names: tuple[str, ...] = (), device: str = "cpu") -> None:
        self._model = model if device == "cpu" else model.to(device)
        self._names = names
        self._device = torch.device(device)
        self.backend = self._title("eager")
        self._compiled: Callable[..., Any] | None = None
        self._wide = is_float64(model)
        self.written: set[str] = set()

    def run(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        tensors = [self._tensor(array) for array in inputs.values()]
        with torch.inference_mode():
            results = flatten_outputs(self._compiled(*tensors) if self._compiled else self._model(*tensors))
        if self._names:
            require_count(len(results), len(self._names), tensors)
        outputs = {
            name: tensor.detach().cpu().numpy().copy()
            for name, tensor in zip(self._names or tuple(results), results.values(), strict=True)
        }
        for (name, array), tensor in zip(inputs.items(), tensors, strict=True):
            if self._on_cpu and not np.array_equal(tensor.numpy(), array, equal_nan=array.dtype.kind in "fc"):
                self.written.add(name)
        return outputs

    def compile(self) -> None:
        """Run with ``torch.compile`` from now on; the first call of each shape compiles, and raises a ``ModelError`` if that fails."""
        from torch._dynamo.exc import TorchDynamoException

        from adaptrt.export.device_guard import keep_device_guard

        keep_device_guard()
        compiled = torch.compile(self._model)

        def call(*tensors: torch.Tensor) -> Any:
            try:
                return compiled(*tensors)
            except TorchDynamoException as error:
                cause = getattr(error, "inner_exception", error)
                reason = next((line for line in str(cause).splitlines() if line.strip()), "")
                raise ModelError(
                    f"torch.compile failed: {type(cause).__name__}: {reason}",
                    hint=f"It requires {'a C++ compiler, such as g++' if self._on_cpu else 'Triton'}; eager does not.",
                ) from error

        self._compiled = call
        self.backend = self._title("torch.compile")

    def rounded_differently(self, inputs: Arrays, seed: int) -> dict[str, NDArray[Any]]:
        """The outputs with every weight and input moved by one rounding error of float32."""
        from adaptrt.export.rounding import moved, weights_rounded_differently

        generator = torch.Generator().manual_seed(seed)
        nudged = {
            name: moved(torch.from_numpy(np.array(array)), generator).numpy() if array.dtype.kind == "f" else array
            for name, array in inputs.items()
        }
        written = set(self.written)
        with weights_rounded_differently(self._model, generator):
            outputs = self.run(nudged)
        self.written = written
        return outputs

    def input_array(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An uninitialized array, in page-locked memory for a GPU."""
        array = np.empty(shape, dtype)
        return array if self._on_cpu else torch.from_numpy(array).pin_memory().numpy()

    def close(self) -> None:
        """No-op: there is nothing to free."""

    @property
    def _on_cpu(self) -> bool:
        return self._device.type == "cpu"

    def _title(self, name: str) -> str:
        return name if self._on_cpu else f"{name} ({self._device})"

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        tensor = torch.from_numpy(
            np.array(array, order="C") if self._on_cpu else np.require(array, None, ["C", "W"])
        ).to(self._device)
        return tensor.double() if self._wide and tensor.is_floating_point() else tensor


def is_float64(model: nn.Module) -> bool:
    """Whether the model computes in float64: all its floating-point parameters (or buffers, if it has none) are float64."""
    for tensors in (model.parameters(), model.buffers()):
        types = {tensor.dtype for tensor in tensors if tensor.is_floating_point()}
        if types:
            return types == {torch.float64}
    return False
