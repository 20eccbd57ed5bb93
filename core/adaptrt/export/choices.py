"""Choice of exporter and opset, from the request alone, before heavy imports."""

from __future__ import annotations

from adaptrt.errors import UsageError
from adaptrt.request import Exporter
from adaptrt.specs import ModelSpec
from adaptrt.specs.targets import Target

_DYNAMO_MINIMUM = 18


def choose_exporter(requested: Exporter, spec: ModelSpec, target: Target) -> Exporter:
    """The requested exporter; for ``auto`` the one the target needs, else the spec's preference."""
    if requested != "auto":
        return requested
    return target.exporter or spec.exporter or "dynamo"


def choose_opset(requested: int | None, exporter: Exporter, target: Target) -> int:
    """The requested opset, else 17 (TorchScript) or 18 (dynamo, whose minimum it is)."""
    if requested is None:
        return 17 if exporter == "torchscript" else _DYNAMO_MINIMUM
    if exporter == "dynamo" and requested < _DYNAMO_MINIMUM:
        raise UsageError(
            f"The dynamo exporter writes opset {_DYNAMO_MINIMUM} or later, not {requested}.",
            hint=f"Use --exporter torchscript --opset {requested}.",
        )
    if requested > target.newest_opset:
        raise UsageError(
            f"{target.title} supports opsets up to {target.newest_opset}; got {requested}.",
            hint=f"Use --opset {target.newest_opset}, or another --target.",
        )
    return requested
