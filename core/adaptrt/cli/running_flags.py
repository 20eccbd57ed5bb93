"""Options of the commands that run a file on images: its decoder, how it is opened, and the executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from adaptrt.cli.adopt import adoption_flags, adoption_of
from adaptrt.cli.decoder_flags import decoder_flags, decoder_params
from adaptrt.cli.framework import option
from adaptrt.cli.output import echo
from adaptrt.cli.shared_flags import F, device_flag, in_order, library_flags, plugins_flag

if TYPE_CHECKING:
    from adaptrt.specs.executors import Executor, ExecutorOptions


def running_flags(section: str) -> Callable[[F], F]:
    """Thresholds, ``--set``, ``--device``, libraries, ``--plugins``, and the options of files from elsewhere."""
    return in_order(
        decoder_flags(section),
        option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=section, help="Any parameter of the decoder: conf=0.4, agnostic=true, top_k=3 ..."),
        device_flag(section, "cpu or cuda:0.  [default: cpu; for an engine: cuda:0]"),
        library_flags(section),
        plugins_flag(section),
        adoption_flags,
    )  # fmt: skip


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
