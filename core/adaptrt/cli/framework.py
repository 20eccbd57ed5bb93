"""Building blocks of all commands: options in sections, examples in the help, groups that import late."""

from __future__ import annotations

import importlib
import itertools
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from adaptrt.cli.config_file import key_in_file
from adaptrt.cli.given import Given, file_like_option, read_given
from adaptrt.cli.habits import command_here, flag_here, sides_here, yolo_words_here
from adaptrt.cli.output import echo
from adaptrt.cli.yolo_lines import is_yolo_word
from adaptrt.errors import AdaptrtError, PluginError, UsageError, did_you_mean, empty_value, nearest_option
from adaptrt.pipeline.named_folder import named_folder
from adaptrt.specs.commands import COMMANDS
from adaptrt.specs.commands import Command as Declared

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

GENERAL = "General"
_CONTEXT = {"max_content_width": 100, "help_option_names": ["-h", "--help"]}


class Option(click.Option):
    """An option listed in a section of ``--help``. A ``help`` that lists installed objects is a function, called when it is shown."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        self._help: Callable[[], str] | None = kwargs.pop("help") if callable(kwargs.get("help")) else None
        self.overrules: Callable[[Any], Iterable[str]] | None = kwargs.pop("overrules", None)
        """The parameters that do not fit a value: ignored if only variables or a file set them."""
        self.may_be_empty: bool = kwargs.pop("may_be_empty", False)
        super().__init__(*args, **kwargs)
        self.section = section

    gives_way = False
    """Whether a command leaves it out if it has another option of the same name."""

    short_for: str | None = None
    """The parameter that it is a short form of: on the command line, one of them replaces the variables of all, and the key of a file."""

    def sibling(self, name: str) -> Option | None:  # noqa: ARG002
        """An option of the same kind that was asked for, and that the command does not have yet."""
        return None

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if self._help is not None:
            self.help = self._help()
        return super().get_help_record(ctx)


def option(*names: str, section: str = "Options", **kwargs: Any) -> Callable[[F], F]:
    if kwargs.get("metavar") in _FILES:
        kwargs.setdefault("shell_complete", complete_files)
    return click.option(*names, cls=Option, section=section, **kwargs)


_FILES = ("FILE", "PATH", "DIR", "LIB")


def complete_files(_ctx: click.Context, _parameter: click.Parameter, text: str) -> list[CompletionItem]:
    """Let the shell complete file names."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(text, type="file")]


class FileArgument(click.Argument):
    """The FILE of a command. What the command cannot take is said before anything about its options.

    ``holds``: ``graph`` (an ONNX graph), ``engine``, or ``model`` (any converted file). ``others``: words in the place of a file, and
    suffixes of other files.
    """

    def __init__(
        self,
        *args: Any,
        holds: Literal["graph", "engine", "model"] = "model",
        others: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"metavar": "FILE", "shell_complete": complete_files, **kwargs})
        self.holds, self.others = holds, others

    def require(self, given: str | Sequence[str] | None) -> None:
        from adaptrt.store import model_files

        words = [other for other in self.others if not other.startswith(".")]
        checks: dict[str, Callable[[Path], object]] = {
            "graph": model_files.require_graph_file,
            "engine": model_files.require_engine_file,
            "model": partial(model_files.require_converted_file, words=words),
        }
        for file in [given] if isinstance(given, str) else given or ():
            if not {file, Path(file).suffix.lower()} & {*self.others}:
                checks[self.holds](Path(file))


class Command(click.Command):
    """A command with sections of options and examples; ``given.arguments(ctx)`` returns what it was called with."""

    def __init__(self, *args: Any, examples: Sequence[tuple[str, str]] = (), **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": _CONTEXT, **kwargs})
        self.examples = examples
        giving = [one for one in self.params if getattr(one, "gives_way", False)]
        taken = {name for one in self.params if one not in giving for name in (*one.opts, *one.secondary_opts)}
        self.params = [one for one in self.params if one not in giving or not taken & {*one.opts}]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        typed, given = list(args), Given(tuple(args))
        try:
            given = read_given(ctx, self, typed)
            rest = super().parse_args(ctx, [*given.words, *typed])
        except click.NoSuchOption as error:
            siblings = (one.sibling(error.option_name) for one in self.params if isinstance(one, Option))
            found = next(filter(None, siblings), None)
            if found is not None:
                self.params.append(found)
                return self.parse_args(ctx, typed)
            raise self._no_such_option(ctx, error, typed) from error
        except click.UsageError as error:
            if isinstance(error, click.BadOptionUsage):
                wanted = next((one for one in self.params if error.option_name in one.opts), None)
                message = f"{error.message} {getattr(wanted, 'help', None) or ''}".rstrip()
                raise click.BadOptionUsage(error.option_name, message, ctx) from error
            if isinstance(error, click.BadParameter):
                name = next((one.name for one in given.variables if one.option is error.param), None)
                error.param_hint = f"{name} (an environment variable)" if name else error.param_hint
                error.param_hint = key_in_file(ctx, error.param) or error.param_hint
            if isinstance(error, click.MissingParameter) and (
                taken := self._taken_as_value(typed) or file_like_option(typed)
            ):
                raise click.UsageError(f"{error.format_message()} {taken}", ctx=ctx) from error
            if "argument" in error.message:
                self._reject_yolo_words(ctx, typed)
                if here := sides_here(typed):
                    raise click.UsageError(f"{error.message} {here}", ctx=ctx) from error
            error.ctx = error.ctx or ctx  # the hint names this command
            raise
        self._reject_empty(ctx)
        ctx.with_resource(named_folder(ctx.params.get("output")))
        arguments = [ctx.params.get(str(one.name)) for one in self.params if isinstance(one, click.Argument)]
        words = [word for value in arguments for word in ([value] if isinstance(value, str) else value or ())]
        if any(is_yolo_word(str(word)) and not Path(word).exists() for word in words):
            self._reject_yolo_words(ctx, typed)
        if given.variables and not ctx.params.get("quiet"):
            echo(f"From the environment: {shlex.join(given.words)}", err=True)
        return rest

    def _reject_empty(self, ctx: click.Context) -> None:
        """As a path, an empty value would be the current folder."""
        for one in self.params:
            value = ctx.params.get(str(one.name))
            values = value if isinstance(value, tuple) else (value,)
            if (
                isinstance(one, click.Option)
                and not getattr(one, "may_be_empty", False)
                and "" in values
                and one.default != ""
            ):
                raise empty_value(f"The value of {one.opts[0]}")

    def _taken_as_value(self, typed: Sequence[str]) -> str:
        """Which word an option with an optional value took, so that an argument is missing."""
        optional = {
            name
            for one in self.params
            if isinstance(one, click.Option) and not one.is_flag and isinstance(one.flag_value, str)
            for name in one.opts
        }
        for option, word in itertools.pairwise(typed):
            if option in optional and not word.startswith("-"):
                return f"{word!r} was read as the value of {option}: place {option} after the arguments."
        return ""

    def _reject_yolo_words(self, ctx: click.Context, given: list[str]) -> None:
        error = yolo_words_here(str(ctx.info_name), given, lambda _: self._flags())
        if error is not None and not ctx.resilient_parsing:
            raise error

    def _no_such_option(self, ctx: click.Context, error: click.NoSuchOption, words: list[str]) -> click.NoSuchOption:
        name = error.option_name
        more = file_like_option(words, name) or flag_here(name, self._flags())
        # --data-images of other commands is --images of evaluate
        shorter = f"--{name.removeprefix('--').partition('-')[2]}"
        if not more and shorter in self._flags():
            more = f"Did you mean {shorter!r}?"
        if not more and (others := _commands_with(name, ctx.find_root())):
            more = f"It is an option of: {', '.join(others)}."
        if not more:
            more = nearest_option(name, (flag for flag in self._flags() if flag.startswith("--")))
        return click.NoSuchOption(name, f"No such option {name!r}. {more}".rstrip(), ctx=ctx)

    def _flags(self) -> set[str]:
        return _flags_of(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            for parameter in self.params:
                if isinstance(parameter, FileArgument):
                    parameter.require(ctx.params[str(parameter.name)])
            return super().invoke(ctx)
        except AdaptrtError as error:
            if _LOGGED in ctx.meta:
                from adaptrt.cli.log_file import log_failure

                log_failure(error.message, error.hint)
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            row = parameter.get_help_record(ctx)
            if row is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", GENERAL), []).append(row)
        general = sections.pop(GENERAL, [])
        for title, rows in [*sections.items(), (GENERAL, general)]:
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        _write_examples(formatter, self.examples)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[tuple[str, str]]) -> None:
    if examples:
        with formatter.section("Examples"):
            for line, meaning in examples:
                formatter.write(f"{'':{formatter.current_indent}}# {meaning}\n")
                formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _flags_of(command: click.Command | None) -> set[str]:
    parameters = command.params if command is not None else ()
    return {name for parameter in parameters for name in (*parameter.opts, *parameter.secondary_opts)}


def _commands_with(option_name: str, root: click.Context) -> list[str]:
    """Core's commands next to this one that have such an option."""
    if not isinstance(root.command, FoundCommands):
        return []
    found = []
    for name in COMMANDS.core_names():
        command = root.command.get_command(root, name)
        if command is not None and any(
            option_name in (*parameter.opts, *parameter.secondary_opts) for parameter in command.params
        ):
            found.append(f"{root.info_name} {name}")
    return found


_LOGGED = "adaptrt.log_file"


def _open_log(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    if path is not None and not ctx.resilient_parsing:
        from adaptrt.cli.log_file import open_log

        open_log(ctx, path)
        ctx.meta[_LOGGED] = path


def general_options(command: F) -> F:
    """``-v``, ``-q``, ``--json``, ``--debug`` and ``--log-file``: the same on every command."""
    for decorate in (
        option(
            "--log-file",
            section=GENERAL,
            metavar="FILE",
            expose_value=False,
            callback=_open_log,
            help="Append stages, warnings and errors, with their time, to FILE.",
        ),
        option("--debug", section=GENERAL, is_flag=True, expose_value=False, help="Show the traceback of an error."),
        option("--json", "as_json", section=GENERAL, is_flag=True, help="Print only JSON on standard output."),
        option("-q", "--quiet", section=GENERAL, is_flag=True, help="Print only errors and warnings."),
        option("-v", "--verbose", section=GENERAL, count=True, help="Verbose output."),
    ):
        command = decorate(command)
    return command


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called or their help is requested."""

    subject = "command"  # what the first argument is

    def __init__(self, *args: Any, declared: Sequence[Declared] = (), **kwargs: Any) -> None:
        super().__init__(*args, **{"context_settings": _CONTEXT, **kwargs})
        self._declared = {command.name: command for command in declared}

    def declared(self) -> Mapping[str, Declared]:
        """The commands in the order of the help, by name."""
        return self._declared

    def find(self, name: str) -> Declared | None:
        return self._declared.get(name)

    def install_hint(self, name: str) -> str | None:  # noqa: ARG002
        """How to install the distribution that provides an unknown command, if it is known."""
        return None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.declared())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        declared = self.find(cmd_name)
        return None if declared is None else self.load(declared)

    def load(self, declared: Declared) -> click.Command:
        module, _, attribute = declared.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = [arg for arg in args if not arg.startswith("-") or arg in ctx.help_option_names]
        if not given and ctx.parent is not None and not ctx.resilient_parsing:
            raise self._no_command(ctx)
        return super().parse_args(ctx, args)

    def _no_command(self, ctx: click.Context) -> UsageError:
        """A line of usage with the commands, and an example."""
        names = self.list_commands(ctx)
        first = self.get_command(ctx, names[0]) if names else None
        examples = [f"For example: {line}" for line, _ in getattr(first, "examples", ())[:1]]
        return UsageError(
            f"Missing {self.subject}. Usage: {ctx.command_path} {'|'.join(names)} ...",
            hint="\n".join([*examples, f"See: {ctx.command_path} --help"]),
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.find(args[0]) is None:
            error = command_here(args, lambda name: _flags_of(self.get_command(ctx, name)))
            if error is not None:
                raise error
            hint = self.install_hint(args[0]) or did_you_mean(args[0], self.list_commands(ctx))
            raise click.UsageError(f"Unknown {self.subject} {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, declared in self.declared().items():
            sections.setdefault(declared.section, []).append((name, declared.summary))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """An example of each command; the list of all commands has an epilog instead."""
        super().format_epilog(ctx, formatter)
        commands = [] if self.epilog else [self.get_command(ctx, name) for name in self.list_commands(ctx)]
        _write_examples(formatter, [one for command in commands for one in getattr(command, "examples", ())[:1]])


class FoundCommands(LazyGroup):
    """The commands that installed distributions declare.

    Core's own are found in its own metadata; the others are searched only for the list or an unknown name.
    """

    def declared(self) -> Mapping[str, Declared]:
        found = []
        for name in COMMANDS.names():
            try:
                found.append(COMMANDS.find(name))
            except PluginError as error:
                echo(f"Skipping the command {name}: {error.message}", err=True)
        for name, distribution in COMMANDS.ignored():
            echo(f"Skipping the command {name} of {distribution}: it is one of adaptrt's own.", err=True)
        return {command.name: command for command in sorted(found, key=lambda one: (one.order, one.name))}

    def find(self, name: str) -> Declared | None:
        return COMMANDS.find(name) if name in COMMANDS else None

    def load(self, declared: Declared) -> click.Command:
        try:
            command = super().load(declared)
        except Exception as error:
            raise PluginError(
                f"{self._named(declared)} cannot be imported: {type(error).__name__}: {error}.",
                hint=f"It is declared as {declared.target}.",
            ) from error
        if not isinstance(command, click.Command):
            raise PluginError(f"{self._named(declared)}: {declared.target} is not a click command.")
        return command

    @staticmethod
    def _named(declared: Declared) -> str:
        return f"The command {declared.name!r} ({COMMANDS.distribution(declared.name)})"
