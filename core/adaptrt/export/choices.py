"""Which front end and which opset; known from the request alone, before anything heavy is imported."""

from __future__ import annotations

from adaptrt.errors import UsageError
from adaptrt.request import Exporter
from adaptrt.specs import ModelSpec
from adaptrt.specs.targets import Target

_DYNAMO_MINIMUM = 18


def choose_exporter(asked: Exporter, spec: ModelSpec, target: Target) -> Exporter:
    """What ``auto`` takes: what the target needs, else what the spec prefers."""
    if asked != "auto":
        return asked
    return target.exporter or spec.exporter or "dynamo"


def choose_opset(asked: int | None, exporter: Exporter, target: Target) -> int:
    """The opset asked for, else 17 (TorchScript) or 18 (dynamo, whose minimum it is)."""
    if asked is None:
        return 17 if exporter == "torchscript" else _DYNAMO_MINIMUM
    if exporter == "dynamo" and asked < _DYNAMO_MINIMUM:
        raise UsageError(
            f"The dynamo exporter writes opset {_DYNAMO_MINIMUM} or later, not {asked}.",
            hint=f"Use --exporter torchscript --opset {asked}.",
        )
    if asked > target.newest_opset:
        raise UsageError(
            f"Opset {asked} is beyond what {target.title} reads ({target.newest_opset}).",
            hint=f"Use --opset {target.newest_opset}, or another --target.",
        )
    return asked
