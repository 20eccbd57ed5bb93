"""A hook call as a line of text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.plugins.recorder import HookCall

_WIDTH = 100


def trace_line(call: HookCall) -> str:
    """Hook, plugin, time, and the result or the error."""
    if call.error is not None:
        outcome = f"failed: {type(call.error).__name__}: {call.error}".splitlines()[0]
    elif call.answered:
        outcome = f"returned: {describe(call.result)}"
    else:
        outcome = "passed"
    return f"hook {call.hook:<22} {call.plugin:<24} {call.seconds * 1000:9.1f} ms  {outcome}"


def describe(result: Any) -> str:
    """A result in a few words: arrays by shape, contributions by name, files by name, the rest by type."""
    text = _described(result)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 4]} ..."


def _described(result: Any) -> str:
    shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
    if isinstance(result, type):
        return result.__name__
    if isinstance(result, Path):
        return result.name
    if isinstance(shape, tuple) and dtype is not None:
        return f"{str(dtype).removeprefix('torch.')} {'x'.join(map(str, shape)) or 'scalar'}"
    if isinstance(result, Mapping):
        return ", ".join(f"{key} {_described(value)}" for key, value in result.items())
    if isinstance(result, tuple):
        return "; ".join(map(_described, result))
    if isinstance(result, list):
        names = [_name(item) for item in result]
        return f"{len(result)} ({', '.join(names)})" if names else "0"
    return type(result).__name__


def _name(item: Any) -> str:
    """The target of a patch, the name of a pass or metric."""
    return str(getattr(item, "target", None) or getattr(item, "name", None) or _described(item))
