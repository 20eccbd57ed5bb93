"""Every long option of a command can be set by an environment variable, ``ADAPTRT_COMMAND_OPTION``: ``ADAPTRT_CONVERT_IMGSZ=640``
is ``--imgsz=640`` for `convert`, ``ADAPTRT_PACKAGE_TRITON_OUTPUT=models`` is ``--output=models`` for `package triton`.

- An option on the command line replaces its variable, and a variable replaces what ``--config`` says. It also replaces
  options that it excludes: ``--verify none`` those of labels and ``--require``, ``--fp16`` those of calibration.
- A switch is 1 or 0; ``--verbose`` takes a number. An empty variable is not set.
- An option that can be repeated takes several values, separated and quoted as in a shell: ``ADAPTRT_CONVERT_SET="conf=0.4 iou=0.6"``.
- Options that trust a file, or name code to load, are accepted only on the command line.
- The options that are in effect are printed on standard error, and are part of the command that a report contains. A variable
  of a command that has no such option is an error.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from adaptrt.errors import UsageError, nearest_name
from adaptrt.specs.variables import SETTINGS, option_prefix, variable_name

TYPED_ONLY = frozenset(
    {
        "--allow-host-code",
        "--code",
        "--ort-custom-ops",
        "--parser-library",
        "--plugin-lib",
        "--plugins",
        "--trust-checkpoint",
    }
)
"""Options that trust a file, or name code that is loaded: a variable is easily inherited from elsewhere."""


@dataclass(frozen=True)
class Variable:
    """A variable that is set, with its option and the words that say the same on the command line."""

    name: str
    option: click.Option
    words: tuple[str, ...]


def variables_of(command: Sequence[str], options: Iterable[click.Parameter]) -> list[Variable]:
    """The variables of a command, such as ``["package", "triton"]``, that are set.

    A ``UsageError`` names one that matches no option, has an invalid value, or is not accepted.
    """
    prefix = option_prefix(command)
    given = {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(prefix) and name not in SETTINGS and value
    }
    if not given:
        return []
    known = {
        variable_name(*command, long.removeprefix("--")): (long, option)
        for option in options
        if isinstance(option, click.Option)
        for long in option.opts
        if long.startswith("--")
    }
    found: list[Variable] = []
    for name, value in given.items():
        if name not in known:
            near = nearest_name(name, known)
            raise UsageError(
                f"The environment variable {name} does not match any option of {' '.join(command)}.",
                hint=near or f"Unset it, or see: adaptrt {' '.join(command)} --help",
            )
        long, option = known[name]
        if long in TYPED_ONLY:
            raise UsageError(
                f"{long} is accepted only on the command line, not from the environment.",
                hint=f"Unset {name}. If you trust what it names, pass {long}.",
            )
        if other := next((one.name for one in found if one.option is option), None):
            raise UsageError(f"The environment variables {other} and {name} set the same option.", hint="Unset one.")
        found.append(Variable(name, option, tuple(_words(name, value, long, option))))
    return found


def _words(name: str, value: str, long: str, option: click.Option) -> list[str]:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"The environment variable {name} is not valid UTF-8 text.", hint="Set it again.")
    if option.count:
        if not value.isdecimal() or int(value) > 9:
            raise UsageError(
                f"The environment variable {name} must be a number from 0 to 9; got {value!r}.",
                hint=f"{name}=2 repeats {long} twice.",
            )
        return [long] * int(value)
    if option.is_flag:
        if value not in ("0", "1"):
            raise UsageError(
                f"The environment variable {name} must be 1 or 0; got {value!r}.", hint="1 switches it on."
            )
        off = option.secondary_opts[:1]
        return [long] if value == "1" else off
    values = _split(name, value) if option.multiple else [value]
    for one in values:
        _require_no_code(name, long, one)
    return [f"{long}={one}" for one in values]


def _split(name: str, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise UsageError(
            f"The environment variable {name} is not a list of words: {error}.", hint="Quote it as in a shell."
        ) from error


def _require_no_code(name: str, long: str, value: str) -> None:
    from adaptrt.conversion_file import code_in

    key, _, text = value.partition("=")
    if any(code_in({"set": {key: text}} if long in ("--set", "--executor-set") else {long.removeprefix("--"): value})):
        raise UsageError(
            f"The environment variable {name} names code, {value!r}, which is accepted only on the command line.",
            hint=f"Unset it. If you trust it, pass {long} {value}",
        )
