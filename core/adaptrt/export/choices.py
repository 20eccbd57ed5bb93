"""Which front end and which opset; known from the request alone, before anything heavy is imported."""

from __future__ import annotations

from adaptrt.errors import UsageError
from adaptrt.request import Exporter
from adaptrt.specs import ModelSpec

# the newest opset that a front end writes well and a TensorRT generation reads
_OPSET_CAP = {8: 17, 10: 20, 11: 20}
_DYNAMO_MINIMUM = 18


def choose_exporter(asked: Exporter, spec: ModelSpec, target: int) -> Exporter:
    """What ``auto`` takes: what the spec prefers; TorchScript for TensorRT 8, which refuses parts of opset 18."""
    if asked != "auto":
        return asked
    if target == 8:
        return "torchscript"
    return spec.exporter or "dynamo"


def choose_opset(asked: int | None, exporter: Exporter, target: int) -> int:
    """The opset asked for, else 17 (TorchScript) or 18 (dynamo, whose minimum it is)."""
    if asked is None:
        return 17 if exporter == "torchscript" else _DYNAMO_MINIMUM
    if exporter == "dynamo" and asked < _DYNAMO_MINIMUM:
        raise UsageError(
            f"The dynamo exporter writes opset {_DYNAMO_MINIMUM} or later, not {asked}.",
            hint=f"Use --exporter torchscript --opset {asked}.",
        )
    if asked > _OPSET_CAP[target]:
        raise UsageError(
            f"Opset {asked} is beyond what TensorRT {target} reads ({_OPSET_CAP[target]}).",
            hint=f"Use --opset {_OPSET_CAP[target]}, or another --target.",
        )
    return asked
