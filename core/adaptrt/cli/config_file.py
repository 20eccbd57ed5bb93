"""``--config``: the options of a command from a TOML file, or from the report of a conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from adaptrt.cli.given import is_settled, typed
from adaptrt.cli.output import echo

_TAKES = "--config takes a TOML file of options, or the report of a conversion (best.report.json)."
_PATH = "adaptrt.config"
# options that are tables in the file: KEY=VALUE on the command line
TABLES = {"set", "shape", "min-shape", "opt-shape", "max-shape"}


def use_config(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    """Make the options of the file the defaults of this command; a ``UsageError`` names an unknown one."""
    if path is None or ctx.resilient_parsing:
        return
    from adaptrt.conversion_file import VERSIONS
    from adaptrt.errors import UsageError
    from adaptrt.toml_lines import place_of

    content = _content(Path(path))
    versions = content.pop(VERSIONS, {})
    if not isinstance(versions, Mapping) or not all(isinstance(version, str) for version in versions.values()):
        raise UsageError(
            f"{place_of(path, VERSIONS)}: [{VERSIONS}] must map packages to versions.",
            hint='For example: torch = "2.11.0"',
        )
    _require_repeated(path, content, typed(ctx))
    ctx.meta[_PATH] = path
    use_options(ctx, content, path)
    for line in _other_versions(versions):
        echo(f"Warning: {path}: {line}", err=True)


def use_options(ctx: click.Context, content: Mapping[str, Any], where: str) -> None:
    """Make these options the defaults of a command; ``where`` names the file in messages."""
    from adaptrt.conversion_file import NEVER
    from adaptrt.errors import UsageError, did_you_mean
    from adaptrt.toml_lines import place_of

    known = options_by_name(ctx.command)
    defaults: dict[str, Any] = {}
    for name, value in content.items():
        if name == NEVER:
            raise UsageError(
                f"{place_of(where, name)}: {NEVER} is accepted only on the command line.", hint=f"Pass --{NEVER} there."
            )
        parameter = known.get(name)
        if parameter is None or parameter.name is None:
            raise UsageError(f"{place_of(where, name)}: unknown key {name!r}.", hint=did_you_mean(name, list(known)))
        try:
            given = _as_given(name, value, parameter)
        except UsageError as error:
            raise UsageError(f"{place_of(where, name)}: {error.message}", hint=error.hint) from error
        if not is_settled(ctx, parameter):
            defaults[parameter.name] = given
    ctx.default_map = {**defaults, **(ctx.default_map or {})}


def key_in_file(ctx: click.Context, parameter: click.Parameter | None) -> str | None:
    """``verify in conversion.toml:2``, if the value of this parameter comes from the file of ``--config``."""
    if parameter is None or ctx.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT_MAP:
        return None
    path: str | None = ctx.meta.get(_PATH)
    if path is None:
        return None
    from adaptrt.toml_lines import place_of

    name = parameter.opts[0].removeprefix("--")
    return f"{name} in {place_of(path, name)}"


def _content(path: Path) -> dict[str, Any]:
    """The options in a TOML file, or in a report, which is recognized by its content too: a pipe has no suffix."""
    from adaptrt.conversion_file import bytes_of, parse_conversion
    from adaptrt.errors import UsageError, in_shell

    data = bytes_of(path, _TAKES)
    begins = data[:200].lstrip().lower()
    if begins.startswith((b"<!doctype html", b"<html")):
        report = path.with_suffix(".json")
        raise UsageError(
            f"{path} is the page of a report.",
            hint=f"Use the JSON report{' next to it' if report.is_file() else ''}: --config {in_shell(report)}",
        )
    if path.suffix.lower() == ".json" or begins.startswith(b"{"):
        data = _in_report(path, data)
    return parse_conversion(path, data)


def _in_report(path: Path, data: bytes) -> bytes:
    """The options in the report of a conversion, as TOML."""
    from adaptrt.errors import ModelError, UsageError
    from adaptrt.report import Report

    try:
        text = Report.from_json(data).conversion
    except ModelError as error:
        raise UsageError(f"{path} cannot be read as a report: {error.message}", hint=_TAKES) from error
    if not text:
        raise UsageError(f"{path} is not the report of a finished conversion.", hint=_TAKES)
    return text.encode()


def _require_repeated(path: str, content: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuse code that only the file names: a file from elsewhere must not decide what runs here."""
    from adaptrt.conversion_file import code_in
    from adaptrt.errors import UsageError
    from adaptrt.toml_lines import place_of

    for name, value in code_in(content):
        pair = f"{name.removeprefix('set.')}={value}" if name.startswith("set.") else value
        if not any(word.removeprefix("-s") == pair or word.endswith(f"={pair}") for word in words):
            missing = value if name == "source" else f"--{name.partition('.')[0]} {pair}"
            raise UsageError(
                f"{place_of(path, *name.split('.', 1))}: {name} names code, {value!r}, which is accepted only if the command line names it too.",
                hint=f"If you trust it, add {missing}",
            )


def options_by_name(command: click.Command) -> dict[str, click.Parameter]:
    """The keys of the file: each long option without its dashes, and the arguments."""
    found: dict[str, click.Parameter] = {}
    for parameter in command.params:
        if not parameter.expose_value:
            continue
        if isinstance(parameter, click.Argument) and parameter.name is not None:
            found[parameter.name] = parameter
        for name in parameter.opts if isinstance(parameter, click.Option) else ():
            if name.startswith("--"):
                found[name.removeprefix("--")] = parameter
    return found


def _as_given(name: str, value: Any, parameter: click.Parameter) -> Any:
    """The value as the command line gives it: text, a number or a bool, or a tuple of texts."""
    from adaptrt.errors import UsageError

    if name in TABLES:
        if not isinstance(value, Mapping):
            raise UsageError(f"{name} must be a table.", hint=f"For example: [{name}], then a line KEY = VALUE")
        join = "=" if name in ("set", "shape") else ":"
        return tuple(
            f"{key}{join}{_scalar(f'{name}.{key}', one)}"
            for key, found in value.items()
            for one in (found if isinstance(found, list) and name != "set" else [found])
        )
    if parameter.multiple:
        return tuple(_scalar(name, one) for one in (value if isinstance(value, list) else [value]))
    is_switch = isinstance(parameter, click.Option) and parameter.is_flag
    if is_switch != isinstance(value, bool):
        wanted = "true or false" if is_switch else "text or a number"
        raise UsageError(f"{name} must be {wanted}.", hint=f"Edit the file: {name} = ...")
    return value if is_switch else _scalar(name, value)


def _scalar(name: str, value: Any) -> str:
    from adaptrt.errors import UsageError

    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, (list, dict)):
        import json

        if name.startswith("set."):  # --set reads JSON
            return json.dumps(value)
    raise UsageError(f"{name} must be text or a number.", hint="Quote it.")


def _other_versions(versions: Mapping[str, str]) -> list[str]:
    """A sentence for each package whose installed version differs."""
    from adaptrt.plugins.discovery import installed_version

    lines = []
    for package, version in versions.items():
        found = installed_version(package)
        if found != version:
            lines.append(f"converted with {package} {version}; {f'{found} is' if found else 'it is not'} installed.")
    return lines
