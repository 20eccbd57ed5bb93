"""What a command was called with: the arguments after its name, and the environment variables that set options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from adaptrt.cli.variables import Variable, variables_of
from adaptrt.errors import in_shell

_GIVEN = "adaptrt.given"


@dataclass(frozen=True)
class Given:
    """``typed``: the arguments as given. ``variables``: those that no typed option replaces. ``settled``: the parameters whose
    values either decides, or that do not fit these values."""

    typed: tuple[str, ...]
    variables: tuple[Variable, ...] = ()
    settled: frozenset[str | None] = frozenset()

    @property
    def words(self) -> list[str]:
        """The variables as options of the command line."""
        return [word for one in self.variables for word in one.words]


@dataclass
class Switches:
    """The general options that matter outside of a command: where its error is shown."""

    as_json: bool = False
    debug: bool = False

    def turn_on(self, words: Iterable[str]) -> None:
        found = set(words)
        self.as_json |= "--json" in found
        self.debug |= "--debug" in found


def read_given(ctx: click.Context, command: click.Command, args: Sequence[str]) -> Given:
    """The arguments with the variables that are in effect, and their general options switched on.

    An option on the command line replaces its variable, and those of options that it is a short form of or does not fit.
    """
    ctx.meta[_GIVEN] = given = Given(tuple(args))
    if ctx.resilient_parsing:
        return given
    values, _, order = command.make_parser(ctx).parse_args(list(args))
    options = [one for one in order if isinstance(one, click.Option)]
    if any(name in ctx.help_option_names for one in options for name in one.opts):
        return given
    path = ctx.command_path.split()
    typed_here = _settled(options, values)
    found = variables_of(path[1:] if ctx.parent is not None else path, command.params)
    variables = tuple(one for one in found if _settles(one.option) not in typed_here)
    settled = typed_here
    if variables:
        values, _, _ = command.make_parser(ctx).parse_args([word for one in variables for word in one.words])
        settled |= _settled([one.option for one in variables], values)
    ctx.meta[_GIVEN] = given = Given(tuple(args), variables, settled)
    if (switches := ctx.find_object(Switches)) is not None:
        switches.turn_on(given.words)
    return given


def arguments(ctx: click.Context) -> list[str]:
    """The arguments that a command was called with: those after its name, preceded by those of environment variables."""
    given = _given(ctx)
    return [*given.words, *given.typed]


def command_line(ctx: click.Context) -> str:
    """The whole command, as reports keep it."""
    return shlex.join(["adaptrt", str(ctx.command.name), *arguments(ctx)])


def typed(ctx: click.Context) -> list[str]:
    """The arguments after the command's name, as given."""
    return list(_given(ctx).typed)


def is_settled(ctx: click.Context, parameter: click.Parameter) -> bool:
    """Whether the command line or an environment variable decides the parameter's value."""
    return _settles(parameter) in _given(ctx).settled


def _given(ctx: click.Context) -> Given:
    given = ctx.meta.get(_GIVEN)
    return given if isinstance(given, Given) else Given(())


def _settled(options: Iterable[click.Option], values: Mapping[str, Any]) -> frozenset[str | None]:
    """The parameters that these options decide with their values, as they were given."""
    found: set[str | None] = set()
    for one in options:
        found.add(_settles(one))
        if (overrules := getattr(one, "overrules", None)) is not None:
            found.update(overrules(values.get(str(one.name))))
    return frozenset(found)


def _settles(parameter: click.Parameter) -> str | None:
    """The parameter whose value it decides: itself, or the one that it is a short form of."""
    return getattr(parameter, "short_for", None) or parameter.name


def file_like_option(words: Sequence[str], option: str = "-") -> str:
    """A sentence about a file whose name begins with ``option``, so that it was read as options; empty if there is none."""
    before = words[: words.index("--")] if "--" in words else words
    found = next((word for word in before if word.startswith(option) and os.path.isfile(word)), None)  # noqa: PTH113  (it may be too long)
    if found is None:
        return ""
    return f"{found!r} is a file whose name begins like an option: write {in_shell(f'./{found}')}."
