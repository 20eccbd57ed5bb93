"""Inputs that are copied to GPU memory once, for calls that are measured without the bus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptrt.backends.tensorrt.runtime.arrays import DeviceArray, Kept
from adaptrt.backends.tensorrt.runtime.engine import EngineTensor
from adaptrt.backends.tensorrt.runtime.memory import Completion, DeviceBuffer, Events, PinnedPool


def on_device(
    tensors: Sequence[EngineTensor], inputs: Mapping[str, NDArray[Any]], events: Events, pinned: PinnedPool
) -> dict[str, Any]:
    """Copies in GPU memory, but for inputs that TensorRT reads on the host."""
    on_host = {tensor.name for tensor in tensors if tensor.on_host}
    return {name: array if name in on_host else _copied(name, array, events, pinned) for name, array in inputs.items()}


def call_and_wait(runner: Callable[..., Mapping[str, DeviceArray]], inputs: Mapping[str, Any]) -> None:
    for array in runner(inputs, outputs="borrowed").values():
        array.synchronize()


def _copied(name: str, array: NDArray[Any], events: Events, pinned: PinnedPool) -> DeviceArray:
    """A copy that is there when this returns."""
    cuda, stream = pinned.cuda, pinned.stream.handle
    buffer, block = DeviceBuffer(cuda, array.nbytes, f"input {name}"), pinned.allocate(array.nbytes)
    np.copyto(block.array(array.shape, array.dtype), array)
    with cuda.current():
        if array.nbytes:
            cuda.copy(buffer.pointer, block.pointer, array.nbytes, cuda.to_device, stream)
        ready = Completion(events, stream)
        ready.synchronize()
    return DeviceArray(name, buffer.pointer, array.shape, array.dtype, Kept(buffer), ready, pinned)
