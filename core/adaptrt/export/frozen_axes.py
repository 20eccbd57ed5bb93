"""Hazards of the dynamo exporter: it can silently specialize a size to a constant, or use one branch for every size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv, statically_known_true

from adaptrt.export.tracing_hazards import HazardRecorder, calling_line, is_models_own

_CONVERSIONS = (
    (torch.SymInt, "__int__"),
    (torch.SymInt, "__index__"),
    (torch.SymInt, "__bool__"),
    (torch.SymBool, "__bool__"),
)
_SET_REPLACEMENT = "_set_replacement"  # private to torch: without it only some lines are missing


@contextmanager
def noting_frozen_axes(recorder: HazardRecorder) -> Iterator[None]:
    """Record the lines of the model's Python at which torch.export specializes a dynamic axis to a number."""
    originals: list[tuple[Any, str, Any]] = [(kind, name, getattr(kind, name)) for kind, name in _CONVERSIONS]
    if hasattr(ShapeEnv, _SET_REPLACEMENT):
        originals.append((ShapeEnv, _SET_REPLACEMENT, getattr(ShapeEnv, _SET_REPLACEMENT)))
    for kind, name, original in originals:
        wrap = _noting_replacement if kind is ShapeEnv else _noting_conversion
        setattr(kind, name, wrap(recorder, name, original))
    try:
        yield
    finally:
        for kind, name, original in originals:
            setattr(kind, name, original)


def _noting_conversion(recorder: HazardRecorder, name: str, original: Any) -> Any:
    def noting(self: Any) -> Any:
        frame = sys._getframe(1)  # torch converts sizes too, which is safe
        place = calling_line(frame) if is_models_own(frame.f_code.co_filename) else None
        if place is not None and not _decided(self):
            recorder.size(name, *place)
        return original(self)

    return noting


def _noting_replacement(recorder: HazardRecorder, _: str, original: Any) -> Any:
    def noting(self: Any, symbol: Any, value: Any, *rest: Any) -> Any:
        place = calling_line(sys._getframe(1)) if getattr(value, "is_number", False) else None
        if place is not None:
            recorder.frozen(*place)
        return original(self, symbol, value, *rest)

    return noting


def _decided(symbol: Any) -> bool:
    """Whether a condition has the same result for every requested size."""
    if not isinstance(symbol, torch.SymBool):
        return False
    return statically_known_true(symbol) or statically_known_true(torch.sym_not(symbol))  # type: ignore[no-untyped-call]
