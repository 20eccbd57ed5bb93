"""The names of environment variables: those that set options of commands, and those that are read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adaptrt.specs.commands import COMMANDS

# read by the cache; they only look like options of `adaptrt cache`
SETTINGS = frozenset({"ADAPTRT_CACHE_DIR", "ADAPTRT_CACHE_SIZE"})


def option_prefix(command: Sequence[str]) -> str:
    """What the variables of a command begin with: ``ADAPTRT_PACKAGE_TRITON_`` for ``package triton``."""
    return variable_name(*command, "")


def variable_name(*words: str) -> str:
    return "_".join(["ADAPTRT", *words]).replace("-", "_").upper()


def without_options(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a command whose options are all given: nothing in it changes one."""
    prefixes = tuple(option_prefix([name]) for name in COMMANDS.core_names())
    return {name: value for name, value in environment.items() if name in SETTINGS or not name.startswith(prefixes)}
