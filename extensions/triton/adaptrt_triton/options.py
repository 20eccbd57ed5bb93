"""The options of ``adaptrt package triton``."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from adaptrt import UsageError

NETWORK_BACKENDS = ("onnxruntime", "tensorrt", "python")
MOST_INSTANCES = 1024
_UNITS = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """``network_backend`` is empty for the one of the file: TensorRT for an engine, else ONNX Runtime."""

    ensemble: bool = field(
        default=False, metadata={"help": "Add pre- and postprocessing: images in, predictions as JSON out."}
    )
    max_queue_delay: str = field(
        default="0ms",
        metadata={"help": "How long a request may wait for others to share its batch: 500us, 5ms.", "metavar": "TIME"},
    )
    network_backend: str = field(
        default="",
        metadata={
            "help": "Triton backend that runs the network.  [default: tensorrt for an engine, else onnxruntime]",
            "choices": NETWORK_BACKENDS,
        },
    )
    instances: int = field(default=1, metadata={"help": "Instances of the network.", "metavar": "N"})
    processing_instances: int = field(
        default=2, metadata={"help": "Instances of pre- and of postprocessing.", "metavar": "N"}
    )
    tensorrt: str = field(
        default="",
        metadata={
            "help": "Version of TensorRT in the server; if it differs from the engine's, it is an error.",
            "metavar": "VERSION",
        },
    )

    def __post_init__(self) -> None:
        for name in ("instances", "processing_instances"):
            if not 1 <= getattr(self, name) <= MOST_INSTANCES:
                raise UsageError(
                    f"--{name.replace('_', '-')} must be 1 to {MOST_INSTANCES}; got {getattr(self, name)}."
                )
        _ = self.queue_delay

    @property
    def queue_delay(self) -> int:
        """``max_queue_delay`` in microseconds."""
        text = self.max_queue_delay.strip()
        unit = next((unit for unit in ("us", "ms", "s") if text.endswith(unit)), "")
        try:  # exact, so that 0.000123s is 123 microseconds
            number = Decimal(text.removesuffix(unit)) * _UNITS[unit]
        except (KeyError, ArithmeticError):
            number = Decimal(-1)
        if not number.is_finite() or not 0 <= number < 1 << 40 or number != int(number):
            raise UsageError(
                f"--max-queue-delay {self.max_queue_delay!r} is not a time.", hint="For example: 500us, 5ms or 0.1s."
            )
        return int(number)
