"""The protocol of the build process: JSON files and lines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from adaptrt.backends.tensorrt.build.log import Severity
from adaptrt.backends.tensorrt.generations import ProductName
from adaptrt.specs import BuildOptions, ModelSpec


@dataclass
class BuildMessage:
    """One build. ``product`` builds it (``tensorrt``, ``rtx``); ``configure`` is ``module:function``, called with (network, config) and ``configure_with`` before the
    build; ``keep_fp32`` are patterns over ONNX nodes; ``timing_cache`` is a folder; ``log_level`` is the lowest severity
    that is passed on."""

    onnx: str
    plan: str
    spec: ModelSpec
    product: ProductName = "tensorrt"
    precision: str = "fp32"
    keep_fp32: list[str] = field(default_factory=list)
    options: BuildOptions = field(default_factory=BuildOptions)
    timing_cache: str | None = None
    log_level: Severity = "warning"
    configure: str | None = None
    configure_with: str | None = None


@dataclass
class Built:
    """The result of the build process.

    ``gpu`` to ``driver`` describe the GPU that it was built on and for; empty if it was built without one, for
    ``compute_capabilities``. ``layers`` is the engine inspector's JSON, as text, or that of the network in the same format
    if ``inspected`` is false; ``kept_layers`` counts the layers constrained to float32;
    ``preferred`` names the nodes to keep in float32 if the constraints were only preferences;
    ``weight_bytes`` is the size of the weights, if TensorRT reports it; ``device_memory`` is the memory of one context.
    """

    tensorrt: str
    gpu: str
    capability: str
    memory: int
    cuda: str
    driver: str | None
    seconds: float
    layers: str
    kept_layers: int
    profiles: int
    device_memory: int
    weight_bytes: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    inspected: bool = True
    preferred: tuple[str, ...] = ()


EventKind = Literal["stage", "progress", "log", "done", "error"]


@dataclass
class Event:
    """A line from the build process."""

    kind: EventKind
    text: str = ""
    severity: Severity = "info"
    fraction: float | None = None
    hint: str | None = None
    error: str = ""
    built: Built | None = None

    def encode(self) -> bytes:
        return msgspec.json.encode(self)


def decode_event(line: bytes) -> Event:
    return msgspec.json.decode(line, type=Event)


def encode_message(message: BuildMessage) -> bytes:
    return msgspec.json.encode(message)


def decode_message(data: bytes) -> BuildMessage:
    return msgspec.json.decode(data, type=BuildMessage)
