"""Records which plugin answered, contributed or failed in a hook: pluggy returns results without plugin names."""

from __future__ import annotations

import functools
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import pluggy

from adaptrt.plugins.thread_limits import kept_thread_limits


@dataclass(frozen=True)
class HookCall:
    """One implementation that ran; ``seconds`` of a wrapper includes the calls it wraps.

    The result or the exception is available only during the callback.
    """

    hook: str
    plugin: str
    seconds: float
    answered: bool
    result: object = None
    error: BaseException | None = None


class _StandIn:
    """What is registered in place of a plugin: its hooks, as attributes."""


class _OfThread(threading.local):
    """What a caller asks about the hook that it has just called, while other threads call hooks."""

    def __init__(self) -> None:
        self.failed: tuple[BaseException, str] | None = None
        self.answered: dict[str, str] = {}


class Recorder:
    """Makes the stand-ins that are registered in place of plugins; ``calls`` holds the latest thousand calls."""

    def __init__(self, on_call: Callable[[HookCall], None] | None = None) -> None:
        self.calls: deque[HookCall] = deque(maxlen=1000)  # a loaded model may run for days
        self._on_call = on_call
        self._own = _OfThread()
        # the objects are kept, since an id is only theirs while they live
        self._contributed: dict[int, tuple[object, str]] = {}

    @property
    def listening(self) -> bool:
        """Whether calls are reported to a callback."""
        return self._on_call is not None

    def stand_in(self, manager: pluggy.PluginManager, plugin: object, name: str) -> object:
        """An object with the hooks of a plugin, each of which records its calls; it is registered under this name."""
        recorded = _StandIn()
        for attribute in dir(plugin):
            options = manager.parse_hookimpl_opts(plugin, attribute)
            if options is None:
                continue
            function = getattr(plugin, attribute)
            hook = options["specname"] or attribute
            if options["hookwrapper"] or (options["wrapper"] and not inspect.isgeneratorfunction(function)):
                setattr(recorded, attribute, function)  # pluggy, or the session, reports what is wrong with it
                continue
            spec = getattr(getattr(manager.hook, hook, None), "spec", None)
            collected = spec is not None and not spec.opts.get("firstresult")
            record = self._recorded_wrapper if options["wrapper"] else self._recorded
            setattr(recorded, attribute, functools.wraps(function)(record(hook, name, function, collected)))
        return recorded

    def failed_in(self, error: BaseException) -> str | None:
        """The plugin that raised this error in its hook."""
        failed = self._own.failed
        return failed[1] if failed is not None and failed[0] is error else None

    def answered(self, hook: str) -> str | None:
        """The plugin that answered the last call of this hook in this thread."""
        return self._own.answered.get(hook)

    def contributor(self, item: object) -> str | None:
        """The plugin that returned this item, or a list with it."""
        found = self._contributed.get(id(item))
        return found[1] if found is not None else None

    def _recorded(self, hook: str, plugin: str, function: Callable[..., Any], collected: bool) -> Callable[..., Any]:
        def recorded(*args: Any) -> Any:
            started = time.perf_counter()
            result = raised = None
            try:
                with kept_thread_limits:
                    result = function(*args)
                    if isinstance(result, Generator):
                        result = list(result)
            except Exception as error:
                self._own.failed = (error, plugin)
                raised = error
                raise
            finally:
                self._note(HookCall(hook, plugin, time.perf_counter() - started, result is not None), result, raised)
            if collected:
                self._attribute(result, plugin)
            return result

        return recorded

    def _recorded_wrapper(
        self, hook: str, plugin: str, function: Callable[..., Any], collected: bool
    ) -> Callable[..., Any]:
        """A wrapper counts as answering if it returns something other than the inner result, or drops it."""

        def recorded(*args: Any) -> Generator[None, Any, Any]:
            started = time.perf_counter()
            received = result = raised = None
            try:
                wrapper = function(*args)
                if next(wrapper, _NOTHING) is _NOTHING:
                    raise RuntimeError("a wrapper must yield once, but this one did not")
                try:
                    received = yield
                except BaseException as error:
                    result = _finished(wrapper.throw, error)
                else:
                    result = _finished(wrapper.send, received)
                if collected and result is None:
                    raise RuntimeError("a wrapper must return the result of its yield, but this one returned nothing")
                if collected and isinstance(result, (list, tuple)):
                    for part in result:  # what each implementation returned
                        self._attribute(part, plugin)
                return result
            except Exception as error:
                if self._own.failed is None or self._own.failed[0] is not error:
                    self._own.failed = (error, plugin)
                raised = error
                raise
            finally:
                answered = result is not received  # also one that dropped the result
                self._note(HookCall(hook, plugin, time.perf_counter() - started, answered), result, raised)

        return recorded

    def _attribute(self, result: object, plugin: str) -> None:
        """Remember which plugin returned this first."""
        for item in (result, *(result if isinstance(result, (list, tuple)) else ())):
            self._contributed.setdefault(id(item), (item, plugin))

    def _note(self, call: HookCall, result: object, error: BaseException | None) -> None:
        if call.answered:
            self._own.answered[call.hook] = call.plugin
        self.calls.append(call)  # without the result: arrays and models would live as long as the session
        if self._on_call is not None:
            self._on_call(replace(call, result=result, error=error))


_NOTHING = object()


def _finished(resume: Callable[[Any], Any], value: Any) -> Any:
    """The return value of a wrapper after it resumes from its yield."""
    try:
        resume(value)
    except StopIteration as stop:
        return stop.value
    raise RuntimeError("a wrapper must yield once, but this one yielded again")
