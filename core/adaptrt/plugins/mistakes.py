"""Mistakes of plugin authors that can be seen without calling a hook, in words that lead to the fix."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from adaptrt import hookspecs
from adaptrt.errors import did_you_mean

if TYPE_CHECKING:
    import pluggy


def hook_parameters() -> Mapping[str, tuple[str, ...]]:
    """The hooks by name, each with the parameters that its implementations may declare."""
    return {
        name: tuple(inspect.signature(function).parameters)
        for name, function in vars(hookspecs).items()
        if getattr(function, "adaptrt_spec", None)
    }


def signature_problem(manager: pluggy.PluginManager, plugin: object) -> tuple[str, str] | None:
    """A hook with a parameter that it does not have, or a wrapper that does not yield, and a hint."""
    known = hook_parameters()
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            continue
        hook, function = options["specname"] or attribute, getattr(plugin, attribute)
        if hook not in known:
            continue
        unknown = [name for name in _required(function) if name not in known[hook]]
        if unknown:
            hint = did_you_mean(unknown[0], known[hook]) if known[hook] else "It has none."
            return f"{hook} has no parameter {unknown[0]!r}.", hint
        if options["wrapper"] and not inspect.isgeneratorfunction(function):
            return f"{hook} is marked with wrapper=True, but does not yield.", "Write: result = yield; return result."
    return None


def unmarked_hooks(plugin: object, implemented: int) -> str:
    """A sentence about functions that look like hooks but are not marked, or about a plugin with no hook; empty if all is well."""
    module = getattr(plugin, "__name__", None)
    functions = [one for one in vars(plugin).values() if inspect.isfunction(one) and one.__module__ == module]
    elsewhere = {(getattr(one, "adaptrt_impl", None) or {}).get("specname") for one in functions}
    unmarked = [
        name
        for name, parameters in hook_parameters().items()
        if inspect.isfunction(function := getattr(plugin, name, None))
        and function.__module__ == module
        and not getattr(function, "adaptrt_impl", None)
        and name not in elsewhere
        and set(_required(function)) <= set(parameters)
        and (_required(function) or not implemented)  # else it may be a function of the plugin's own
    ]
    if unmarked:
        what = "is not marked as a hook" if len(unmarked) == 1 else "are not marked as hooks"
        return f"{', '.join(unmarked)} {what}, so adaptrt does not call it: add @adaptrt.hookimpl, or rename it."
    return "" if implemented else "no function in it is marked as a hook: add @adaptrt.hookimpl."


def _required(function: Callable[..., Any]) -> list[str]:
    """The parameters that pluggy passes by name: those without a default."""
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]


def import_place(error: BaseException) -> str:
    """The line of a plugin's code that an import ended at, ``plugin.py:3``; empty if none of its code ran."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{PurePath(error.filename).name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith("<") and "importlib" not in frame.filename]
    last = own[-1] if own else None
    if last is None or last.filename == _SESSION:
        return ""
    return f"{PurePath(last.filename).name}:{last.lineno}"


_SESSION = str(PurePath(__file__).with_name("session.py"))
