"""``--set key=value`` onto the frozen dataclasses that adapters and decoders declare."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Mapping
from types import NoneType
from typing import Any, TypeVar

from adaptrt.errors import SettingsError, UsageError, did_you_mean

T = TypeVar("T")


def parse_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """``["conf=0.4", "cfg.a.b=1"]`` to a dict; the last of two equal keys wins."""
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {pair!r} must have the form key=value.", hint="For example: --set conf=0.4")
        values[key.strip()] = value.strip()
    return values


def option_names(options: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(options)]


def takes_option(options: type[Any], key: str) -> bool:
    """Whether a key belongs to this dataclass: a field, or ``field.rest`` where the field is a dict."""
    name, dot, _ = key.partition(".")
    return name in option_names(options) and (not dot or _is_dict(typing.get_type_hints(options)[name]))


def renamed_option(options: type[Any], key: str) -> str | None:
    """The current name of an option that was once called ``key``."""
    renamed: Mapping[str, str] = getattr(options, "RENAMED", {})
    return renamed.get(key.partition(".")[0])


def fill_options(options: type[T], values: Mapping[str, Any]) -> T:
    """An instance with these values, converted to the fields' types.

    Text is converted (``"0.4"`` for a float, ``"true"`` for a bool, JSON for lists and dicts); ``field.rest=value``
    sets one key of a field that is a dict, in any order. A ``UsageError`` names the option and the expected type.
    """
    hints = typing.get_type_hints(options)
    filled: dict[str, Any] = {}
    for key, value in sorted(values.items(), key=lambda item: "." in item[0]):
        if not takes_option(options, key):
            raise no_option(f"Unknown option {key!r}.", key, options)
        name, dot, rest = key.partition(".")
        if dot:
            filled[name] = _convert(key, {**(filled.get(name) or {}), rest: _scalar(value)}, hints[name])
        else:
            filled[name] = _convert(key, value, hints[name])
    missing = _missing(options, filled)
    if missing:
        raise UsageError(
            f"Required options are missing: {', '.join(missing)}.",
            hint=f"Set them: {' '.join(f'--set {name}=...' for name in missing)}",
        )
    return options(**filled)


def fill_settings(options: type[T], values: Mapping[str, Any], table: str) -> T:
    """An instance with the values of a plugins.toml table, which are already typed.

    A ``SettingsError`` names the table (``settings.mlflow``), the key and the expected type.
    """
    import msgspec

    hints = typing.get_type_hints(options)
    filled: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise SettingsError(f"[{table}]: unknown key {key!r}.", hint=did_you_mean(key, option_names(options)))
        try:
            filled[key] = msgspec.convert(value, hints[key])
        except msgspec.ValidationError as error:
            raise SettingsError(f"[{table}]: {key} is {value!r}.", hint=f"{error}.".replace("`", "")) from error
    missing = _missing(options, filled)
    if missing:
        raise SettingsError(f"[{table}]: {', '.join(missing)} must be set.")
    return options(**filled)


def _missing(options: type[Any], filled: Mapping[str, Any]) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(options)
        if field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
        and field.name not in filled
    ]


def no_option(message: str, key: str, options: type[Any], others: Iterable[str] = ()) -> UsageError:
    """The error for an unknown option; the hint has its new name, or the closest one."""
    renamed = renamed_option(options, key)
    if renamed is not None:
        return UsageError(message, hint=f"{key} was renamed to {renamed}: --set {renamed}=...")
    return UsageError(message, hint=did_you_mean(key, [*option_names(options), *others]))


def split_options(options: type[T] | None, values: Mapping[str, Any]) -> tuple[T | None, dict[str, Any]]:
    """An instance with the values that belong to it (``None`` without a class), and the remaining values."""
    if options is None:
        return None, dict(values)
    own = {key: value for key, value in values.items() if takes_option(options, key)}
    return fill_options(options, own), {key: value for key, value in values.items() if key not in own}


def _convert(key: str, value: Any, wanted: Any) -> Any:
    import msgspec

    if isinstance(value, str) and _wants_json(wanted):
        value = _container(key, value, wanted)
    try:
        return msgspec.convert(value, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"--set {key}={value!r}: {error}.".replace("..", "."), hint=f"Expected: {_spelled(wanted)}"
        ) from error


def _container(key: str, text: str, wanted: Any) -> Any:
    """JSON, or for lists comma-separated items: ``0,2``."""
    try:
        value = json.loads(text)
        if isinstance(value, (list, dict)) or value is None:
            return value
    except json.JSONDecodeError:
        pass
    if _is_dict(wanted):
        raise UsageError(
            f"--set {key}={text!r} is not valid JSON.", hint=f"For example: --set {key}='{{\"classes\": 3}}'"
        )
    return [part.strip() for part in text.split(",")]


def _scalar(value: Any) -> Any:
    """Text inside a dict, which has no declared type: JSON if it is valid JSON, else text."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except json.JSONDecodeError:
        return value


def _spelled(wanted: Any) -> str:
    arguments = typing.get_args(wanted)
    if typing.get_origin(wanted) is typing.Literal:
        return " or ".join(map(str, arguments)) if len(arguments) < 3 else f"one of {', '.join(map(str, arguments))}"
    if any(typing.get_origin(one) is typing.Literal for one in arguments):
        return ", or ".join(_spelled(one) for one in arguments if one is not NoneType)
    return wanted.__name__ if isinstance(wanted, type) and not typing.get_args(wanted) else str(wanted)


def _origins(wanted: Any) -> set[Any]:
    arguments = typing.get_args(wanted)
    origin = typing.get_origin(wanted) or wanted
    if isinstance(origin, type) and issubclass(origin, (dict, list, tuple, set, frozenset)):
        return {origin}
    return set().union(*(_origins(argument) for argument in arguments)) if arguments else {origin}


def _is_dict(wanted: Any) -> bool:
    return dict in _origins(wanted)


def _wants_json(wanted: Any) -> bool:
    return bool(_origins(wanted) & {dict, list, tuple, set, frozenset}) and str not in _origins(wanted)
