"""Contributions of plugins: patches, graph passes and metrics. Frozen data with a reason; core applies it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from adaptrt.field_types import require_field_types

if TYPE_CHECKING:
    import onnx_ir
    from torch import nn

    from adaptrt.predictions import Predictions


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A change to a framework that is active only while the model is exported. Use one of the subclasses.

    ``target`` is ``"package.module:Class.method"``, ``"package.module:function"`` or ``"package.module:Class"``: the
    module that uses it, since ``from x import f`` makes a copy. ``requires`` is the supported version range
    (``"timm>=1.0,<2"``); any other version is an error. ``tested`` is the range it was tested with
    (``"timm>=1.0.20,<=1.0.31"``): beyond it, the conversion warns and continues only if link 1 runs and passes. Two
    patches with the same target are an error, unless one sets ``replaces`` to that target.
    """

    target: str
    reason: str
    requires: str
    tested: str = ""
    link: str = ""
    replaces: str | None = None

    def __post_init__(self) -> None:
        require_field_types(self)


@dataclass(frozen=True, kw_only=True)
class FunctionPatch(Patch):
    """Replaces a function or method: ``replacement(original, *args, **kwargs)``; for a method, ``self`` comes first in ``args``."""

    replacement: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class ModulePatch(Patch):
    """Replaces each sub-module that is an instance of the class ``target`` by ``build(module)``."""

    build: Callable[[nn.Module], nn.Module]


@dataclass(frozen=True, kw_only=True)
class SwitchPatch(Patch):
    """Sets attributes on each sub-module that is an instance of the class ``target``: a framework's own switches."""

    values: dict[str, Any]


# core's own graph passes, in the order they run
PASS_ORDER: Mapping[str, int] = MappingProxyType(
    {
        "fold": 10,
        "clean": 20,
        "simplify": 30,
        "gather": 40,
        "opset17": 50,  # for TensorRT 8 alone
        "shapes": 80,
        "names": 90,
    }
)


@dataclass(frozen=True, kw_only=True)
class GraphPass:
    """A rewrite of the exported graph, in place or by returning another model; run by ``order``, checked after each.

    ``PASS_ORDER`` has the orders of core's own passes. Two passes with the same name are an error, unless one sets
    ``replaces`` to that name.
    """

    name: str
    order: int
    reason: str
    run: Callable[[onnx_ir.Model], onnx_ir.Model | None]
    replaces: str | None = None

    def __post_init__(self) -> None:
        require_field_types(self)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How well predictions agree: ``compute(reference, converted)`` over the same images, from 0 to 1; ``None``: they contain
    nothing to compare.

    ``task`` is the name of the task whose predictions it compares, or ``any``. Below ``minimum`` the conversion fails; ``minimum=None`` only reports the value.
    ``explain`` describes the differences for the error message of a failed conversion.
    """

    name: str
    task: str
    reason: str
    compute: Callable[[Sequence[Predictions], Sequence[Predictions]], float | None]
    minimum: float | None = None
    replaces: str | None = None
    explain: Callable[[Sequence[Predictions], Sequence[Predictions]], str] | None = None

    def __post_init__(self) -> None:
        require_field_types(self)
