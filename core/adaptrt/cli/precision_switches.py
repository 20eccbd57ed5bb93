"""``--fp16`` and others: options that are short for ``--precision NAME``, one for each installed precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from adaptrt.cli.framework import Option
from adaptrt.cli.habits import OTHER_NAMES
from adaptrt.specs.registry import core_names

F = TypeVar("F", bound=Callable[..., Any])

_PREFIX = "precision_"
_QUANTIZING = ("calib", "calib_images", "calib_batch", "calib_method", "calib_cache", "keep_fp16", "quantize_also")
LABELED = ("data", "data_images", "data_limit", "max_loss")


def not_quantizing(precision: str) -> Sequence[str]:
    """The parameters that do not fit a precision that is not quantized."""
    from adaptrt.specs.precisions import PRECISIONS

    if precision not in PRECISIONS or PRECISIONS.find(precision).form == "qdq":
        return ()
    return (*_QUANTIZING, *LABELED)


class PrecisionSwitch(Option):
    """``--NAME``. A command leaves it out if it has another option of this name (``--tf32``)."""

    gives_way = True
    short_for = "precision"

    def __init__(self, names: Sequence[str], *, precision: str, section: str, **kwargs: Any) -> None:
        super().__init__(names, section=section, help=f"--precision {precision}", is_flag=True, **kwargs)
        self.overrules = lambda _: not_quantizing(precision)

    def sibling(self, name: str) -> Option | None:
        """The switch ``name`` of a precision that a plugin adds. Distributions are searched only for an unknown option."""
        from adaptrt.specs.precisions import PRECISIONS

        precision = name.removeprefix("--")
        if precision not in PRECISIONS:
            return None
        return PrecisionSwitch(_names(precision), precision=precision, section=self.section)


def core_switches(section: str) -> list[Callable[[F], F]]:
    """Those of core's precisions, found in core's own metadata: the help does not wait for that of every distribution."""
    return [
        click.option(*_names(name), cls=PrecisionSwitch, precision=name, section=section)
        for name in core_names("adaptrt.precisions")
    ]


def switched(flags: Mapping[str, Any]) -> list[str]:
    """The names of the precisions whose switches are set."""
    from adaptrt.specs.precisions import PRECISIONS

    return [name for name in PRECISIONS.names() if flags.get(_key(name))]


def _names(precision: str) -> list[str]:
    return [f"--{precision}", *OTHER_NAMES.get(f"--{precision}", ()), _key(precision)]


def _key(precision: str) -> str:
    return _PREFIX + precision.replace("-", "_")
