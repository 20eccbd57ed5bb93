"""What the methods of a task and of its scoring return, if another distribution has written them: of the type that core relies on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Real
from types import SimpleNamespace
from typing import Any

from adaptrt.errors import PluginError
from adaptrt.specs.registry import distribution_of_module

Check = Callable[[Any], str]
"""What a result is instead of what it must be; empty if it is right."""


def check_results(cls: type[Any], checks: Mapping[str, tuple[str, Check]]) -> None:
    """Let the methods that a class of another distribution defines raise a ``PluginError`` if their result is wrong.

    ``checks``: by method, what it must return, and the check.
    """
    for name, (wanted, check) in checks.items():
        wrap_method(cls, name, functools.partial(_checked, name=name, wanted=wanted, check=check))


def wrap_method(cls: type[Any], name: str, wrap: Callable[[Callable[..., Any], type[Any]], Callable[..., Any]]) -> None:
    """Replace a method that a class of another distribution defines by ``wrap(method, cls)``."""
    if cls.__module__.partition(".")[0] != "adaptrt" and inspect.isfunction(vars(cls).get(name)):
        setattr(cls, name, wrap(vars(cls)[name], cls))


def _checked(function: Callable[..., Any], cls: type[Any], name: str, wanted: str, check: Check) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        if wrong := check(result):
            raise _wrong(name, cls, wanted, wrong)
        return result

    return call


def _wrong(method: str, cls: type[Any], wanted: str, wrong: str) -> PluginError:
    distribution = distribution_of_module(cls.__module__.partition(".")[0])
    origin = f"{distribution}: " if distribution else ""
    hint = "Use float(x) for a NumPy scalar, and array.tolist() for an array." if "numpy" in wrong else None
    return PluginError(f"{origin}{cls.__name__}.{method} must return {wanted}; got {wrong}.", hint=hint)


def is_a(*kinds: type[Any]) -> Check:
    def check(result: Any) -> str:
        return "" if isinstance(result, kinds) else _shown(result)

    return check


def is_yes_or_no(result: Any) -> str:
    return "" if type(result).__name__ in ("bool", "bool_") else _shown(result)


def is_drawing(result: Any) -> str:
    shape: tuple[int, ...] = getattr(result, "shape", ())
    if str(getattr(result, "dtype", "")) == "uint8" and len(shape) == 3 and shape[2] == 3:
        return ""
    return f"{result.dtype} {list(shape)}" if hasattr(result, "dtype") and shape else _shown(result)


def is_list_of(check: Check) -> Check:
    def check_each(result: Any) -> str:
        if not isinstance(result, (list, tuple)):
            return _shown(result)
        return next((f"a list with {wrong}" for one in result if (wrong := check(one))), "")

    return check_each


def is_bar(result: Any) -> str:
    right = (
        isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], str) and isinstance(result[1], Real)
    )
    return "" if right else _shown(result)


def _is_metric(result: Any) -> str:
    return "" if hasattr(result, "compute") else _shown(result)


def is_json_object(result: Any) -> str:
    return _not_json(result) if isinstance(result, Mapping) else _shown(result)


def _not_json(value: Any, place: str = "") -> str:
    if value is None or isinstance(value, (str, int, float)):
        return ""
    if isinstance(value, Mapping):
        key = next((key for key in value if not isinstance(key, (str, int))), "")
        if key != "":
            return f"the key {key!r}{place and f' in {place}'}"
        items: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    else:
        return f"{_shown(value)} in {place}"
    return next((wrong for key, one in items if (wrong := _not_json(one, f"{place}[{key!r}]"))), "")


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    kind = type(value)
    return f"a {kind.__module__}.{kind.__name__}" if kind.__module__ == "numpy" else f"a {kind.__name__}"


def checked_files(function: Callable[..., Any], cls: type[Any]) -> Callable[..., Iterator[tuple[str, bytes]]]:
    """``Task.export``, each of whose files is checked when it is requested."""
    wanted = "pairs of a file name and bytes"

    @functools.wraps(function)
    def export(*args: Any, **kwargs: Any) -> Iterator[tuple[str, bytes]]:
        files = function(*args, **kwargs)
        if not isinstance(files, Iterable):
            raise _wrong("export", cls, wanted, _shown(files))
        for one in files:
            if not (isinstance(one, tuple) and [type(part) for part in one] == [str, bytes]):
                raise _wrong("export", cls, wanted, _shown(one))
            yield one

    return export


def checked_scorer(function: Callable[..., Any], cls: type[Any]) -> Callable[..., Any]:
    """``Scoring.scorer``, whose scorer returns plain numbers."""

    @functools.wraps(function)
    def scorer(*args: Any, **kwargs: Any) -> Any:
        found = function(*args, **kwargs)
        missing = [name for name in ("add", "scores", "per_class", "records") if not hasattr(found, name)]
        if missing:
            raise _wrong("scorer", cls, f"an object with the method {missing[0]}", _shown(found))
        kind = type(found)
        numbers = {
            name: _numbers(name, kind, getattr(found, name)) for name in ("scores", "figures") if hasattr(found, name)
        }
        per_class = _table(kind, found.per_class)
        records = _checked(found.records, kind, "records", "a list of JSON objects", is_list_of(is_json_object))
        return _Scorer(scorer=found, add=found.add, per_class=per_class, records=records, **numbers)

    return scorer


class _Scorer(SimpleNamespace):
    """A scorer with some methods replaced."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "scorer" not in vars(self):
            raise AttributeError(name)
        return getattr(self.scorer, name)


def _numbers(name: str, kind: type[Any], function: Callable[[], Any]) -> Callable[[], dict[str, float]]:
    return lambda: _plain(name, kind, function())


def _table(kind: type[Any], function: Callable[[], Any]) -> Callable[[], dict[str, dict[str, float]]]:
    def per_class() -> dict[str, dict[str, float]]:
        found = function()
        if not isinstance(found, Mapping):
            raise _wrong("per_class", kind, "a dict", _shown(found))
        return {label: _plain("per_class", kind, row) for label, row in found.items()}

    return per_class


def _plain(name: str, kind: type[Any], found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping):
        raise _wrong(name, kind, "a dict of numbers by name", _shown(found))
    wrong = next((value for value in found.values() if not isinstance(value, Real)), 0.0)
    if not isinstance(wrong, Real):
        raise _wrong(name, kind, "a dict of numbers by name", f"a dict with {_shown(wrong)}")
    return {key: value if isinstance(value, (int, float)) else float(value) for key, value in found.items()}


TASK: Mapping[str, tuple[str, Check]] = {
    "describe": ("a string", is_a(str)),
    "agreement": ("a string", is_a(str)),
    "malformed": ("a string or None", is_a(str, type(None))),
    "draw": ("an image, uint8 [H, W, 3]", is_drawing),
    "bars": ("a list of names with numbers", is_list_of(is_bar)),
    "is_empty": ("True or False", is_yes_or_no),
    "data": ("a dict of JSON data", is_json_object),
    "row": ("a dict of JSON data", is_json_object),
    "record": ("a dict of JSON data", is_json_object),
    "metrics": ("a list of Metric", is_list_of(_is_metric)),
    "problems": ("a list of strings", is_list_of(is_a(str))),
}
"""What the methods of a task must return."""
