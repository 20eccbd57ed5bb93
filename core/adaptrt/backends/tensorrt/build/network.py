"""Precision facts from a strongly typed network and the builder's log, for engines that cannot be loaded on this machine.

TensorRT-RTX builds for other GPUs, and its engine inspector requires such a GPU.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from adaptrt.backends.tensorrt.build.log import Severity

T = TypeVar("T")

_WEIGHTS = re.compile(r"Total Weights Memory: (\d+) bytes")
_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")


def layer_node(layer: Any) -> str:
    """The ONNX node of a layer, which the parser records in the metadata."""
    metadata = str(layer.metadata or "")
    marker = "[ONNX Layer: "
    if marker in metadata:
        return metadata.partition(marker)[2].partition("]")[0]
    return str(layer.name)


def network_layers(trt: Any, network: Any) -> str:
    """The layers with their types, in the format of the inspector's JSON.

    A layer whose floating inputs all come from DequantizeLinear is shown as int8: the builder fuses the two.
    """
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    dequantized = {
        layer.get_output(0).name for layer in layers if layer.type == trt.LayerType.DEQUANTIZE and layer.num_outputs
    }
    floating = (trt.DataType.FLOAT, trt.DataType.HALF, trt.DataType.BF16)

    def types(tensors: list[Any], *, quantized: bool) -> list[dict[str, str]]:
        return [
            {"Format": "INT8" if quantized and tensor.dtype in floating else tensor.dtype.name}
            for tensor in tensors
            if tensor is not None
        ]

    found = []
    for layer in layers:
        inputs = [layer.get_input(number) for number in range(layer.num_inputs)]
        outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
        numbers = [tensor for tensor in inputs if tensor is not None and tensor.dtype in floating]
        quantized = bool(numbers) and all(tensor.name in dequantized for tensor in numbers)
        found.append(
            {
                "Name": layer_node(layer),
                "LayerType": layer.type.name,
                "Inputs": types(inputs, quantized=quantized),
                "Outputs": types(outputs, quantized=False),
            }
        )
    return json.dumps({"Layers": found})


class MemoryLog:
    """Forwards messages, and records the sizes that the builder reports in them."""

    def __init__(self, log: Callable[[Severity, str], None]) -> None:
        self._log = log
        self._held: list[str] | None = None
        self.weights: int | None = None
        self.activations = 0
        self.errors: list[str] = []

    def errors_of(self, call: Callable[[], T]) -> tuple[T, list[str]]:
        """The result of a call that may fail, and the errors it logged, which are not forwarded."""
        held: list[str] = []
        self._held = held
        try:
            return call(), held
        finally:
            self._held = None

    def __call__(self, severity: Severity, message: str) -> None:
        if severity in ("error", "internal error"):
            if self._held is not None:
                self._held.append(message)
                return
            self.errors.append(message)
        if match := _WEIGHTS.search(message):
            self.weights = int(match[1])
        elif match := _ACTIVATIONS.search(message):
            self.activations = int(match[1])
        self._log(severity, message)
