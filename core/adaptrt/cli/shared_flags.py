"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from adaptrt.cli.framework import option
from adaptrt.specs.devices import FORM, is_device

F = TypeVar("F", bound=Callable[..., Any])

BACKENDS_DEVICE = "cpu or cuda:0, for the files that run there.  [default: that of each backend]"


def in_order(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Options as one decorator, which ``--help`` lists in this order."""

    def decorate(command: F) -> F:
        for add in reversed(options):
            command = add(command)
        return command

    return decorate


def _known_device(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """Reject what is not the name of a device, before anything is opened."""
    if name is not None and not is_device(name):
        raise click.BadParameter(f"{name!r} is not a device: use {FORM}.")
    return name


def device_flag(section: str, about: str) -> Callable[[F], F]:
    return option("--device", metavar="NAME", section=section, callback=_known_device, help=about)


def library_flags(section: str) -> Callable[[F], F]:
    """``--allow-host-code``, ``--plugin-lib`` and ``--ort-custom-ops``."""
    return in_order(
        option("--allow-host-code", is_flag=True, section=section, help="Load an engine that contains host code."),
        option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=section, help="Library of TensorRT plugins."),
        custom_ops_flag(section),
    )  # fmt: skip


def custom_ops_flag(section: str) -> Callable[[F], F]:
    return option("--ort-custom-ops", metavar="LIB", multiple=True, section=section, help="Library of custom operators for ONNX Runtime.")  # fmt: skip


def plugins_flag(section: str) -> Callable[[F], F]:
    return option("--plugins", "plugins_file", metavar="FILE", section=section, help="A plugins.toml; its modules are loaded.")  # fmt: skip
