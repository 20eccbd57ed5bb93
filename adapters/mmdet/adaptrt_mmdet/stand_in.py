"""A stub for ``mmcv._ext``, the compiled part of mmcv, which mmcv-lite does not include.

``mmdet.models`` imports all of ``mmcv.ops``, which looks up functions of ``mmcv._ext`` by name. Most models never call
one. The stub has every name; calling one raises an error that names the op.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from adaptrt import DependencyError

NAME = "mmcv._ext"


class StandIn(ModuleType):
    """A module in which every public name is a function that raises a ``DependencyError``."""

    def __init__(self) -> None:
        super().__init__(NAME, __doc__)
        self.__spec__ = ModuleSpec(NAME, None, origin="adaptrt_mmdet.stand_in")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect, pickle and doctest look up these names and must not find them
            raise AttributeError(name)

        def missing(*_: Any, **__: Any) -> NoReturn:
            raise missing_op(name)

        missing.__name__ = missing.__qualname__ = name
        return missing


def missing_op(name: str) -> DependencyError:
    return DependencyError(
        f"This model calls mmcv's compiled op {name!r}, which mmcv-lite does not have.",
        hint="Replace mmcv-lite with mmcv, which compiles in 10 to 17 minutes: pip uninstall mmcv-lite && "
        "pip install 'setuptools<82' wheel ninja && pip install --no-build-isolation 'mmcv>=2.0.1,<2.2'",
    )


def has_compiled_ops() -> bool:
    """Whether the real ``mmcv._ext`` is installed."""
    loaded = sys.modules.get(NAME)
    if loaded is not None:
        return not isinstance(loaded, StandIn)
    return importlib.util.find_spec(NAME) is not None


def ensure_ops() -> None:
    """Make ``import mmcv.ops`` work; no-op if the compiled ops are installed."""
    if not has_compiled_ops():
        sys.modules.setdefault(NAME, StandIn())
