"""Options of the commands that run a file on images: its decoder, how it is opened, and the executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adaptrt.cli.adopt import adoption_flags, adoption_of
from adaptrt.cli.decoder_flags import decoder_flags, decoder_params
from adaptrt.cli.framework import option
from adaptrt.cli.output import echo
from adaptrt.specs.devices import FORM, is_device

if TYPE_CHECKING:
    from adaptrt.specs.executors import Executor, ExecutorOptions

F = TypeVar("F", bound=Callable[..., Any])


def known_device(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    """Reject what is not the name of a device, before anything is opened."""
    if name is not None and not is_device(name):
        raise click.BadParameter(f"{name!r} is not a device: use {FORM}.")
    return name


def running_flags(section: str) -> Callable[[F], F]:
    """Thresholds, ``--set``, ``--device``, libraries, ``--plugins``, and the options of files from elsewhere."""

    def decorate(command: F) -> F:
        command = adoption_flags(command)
        for add in (
            option("--plugins", "plugins_file", metavar="FILE", section=section, help="A plugins.toml; its modules are loaded."),
            option("--ort-custom-ops", metavar="LIB", multiple=True, section=section, help="Library of custom operators for ONNX Runtime."),
            option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=section, help="Library of TensorRT plugins."),
            option("--allow-host-code", is_flag=True, section=section, help="Load an engine that contains host code."),
            option("--device", metavar="NAME", section=section, callback=known_device, help="cpu or cuda:0.  [default: cpu; for an engine: cuda:0]"),
            option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=section, help="Any parameter of the decoder: conf=0.4, agnostic=true, top_k=3 ..."),
        ):  # fmt: skip
            command = add(command)
        return decoder_flags(section)(command)

    return decorate


def executor_from_flags(flags: Mapping[str, Any]) -> tuple[Executor, ExecutorOptions]:
    """The executor of ``--executor``, and what it runs with; ``flags`` are the parameters of the command by name."""
    from adaptrt.options import parse_pairs
    from adaptrt.specs.executors import EXECUTORS

    name = flags["executor"]
    chosen = EXECUTORS.find(name)
    own = own_options(name, chosen.options, parse_pairs(flags["executor_pairs"]))
    return chosen, options_from_flags(flags, own)


def options_from_flags(flags: Mapping[str, Any], own: Any = None) -> ExecutorOptions:
    """How a model is opened and run, from the options of ``running_flags``; ``own``: the options of the executor."""
    from adaptrt.specs.executors import ExecutorOptions

    return ExecutorOptions(
        params=decoder_params(flags["pairs"], flags),
        device=flags["device"],
        custom_ops=flags["ort_custom_ops"],
        allow_host_code=flags["allow_host_code"],
        plugin_libs=flags["plugin_libs"],
        plugins_file=flags["plugins_file"],
        adoption=adoption_of(flags["decoder"], flags["imgsz"], flags["names"]),
        own=own,
        warn=lambda text: echo(f"Warning: {text}", err=True),
    )


def own_options(executor: str, kind: type[Any] | None, values: dict[str, str]) -> Any:
    """The options of an executor from ``--executor-set``; ``None`` if it has none."""
    from adaptrt.errors import UsageError
    from adaptrt.options import fill_options, no_option, takes_option
    from adaptrt.specs.executors import EXECUTORS

    unknown = next((key for key in values if kind is None or not takes_option(kind, key)), None)
    if unknown is not None:
        message = f"The executor {executor!r} has no option {unknown!r}."
        others = [one.name for one in EXECUTORS.all() if one.options and takes_option(one.options, unknown)]
        if others:
            raise UsageError(message, hint=f"It is an option of --executor {' and of --executor '.join(others)}.")
        if kind is None:
            raise UsageError(message, hint="Omit --executor-set.")
        raise no_option(message, unknown, kind)
    return None if kind is None else fill_options(kind, values)
