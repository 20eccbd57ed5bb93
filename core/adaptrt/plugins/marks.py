"""Marks on hooks, beside ``hookimpl``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
_NEEDS_CALIB = "adaptrt_needs_calib"


def needs_calib(function: F) -> F:
    """Mark a ``quantize`` hook that only answers with ``--calib``.

    Without such a mark, a plugin may provide the Q/DQ nodes on its own, and ``--int8`` without ``--calib`` is rejected only
    once the graph is there; with it, before the model is loaded. Returns the function.
    """
    setattr(function, _NEEDS_CALIB, True)
    return function


def requires_calib(function: Callable[..., Any]) -> bool:
    """Whether a hook is marked with ``needs_calib``."""
    return getattr(function, _NEEDS_CALIB, False)
