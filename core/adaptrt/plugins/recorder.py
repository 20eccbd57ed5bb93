"""Knows which plugin answered, contributed or failed in a hook: pluggy itself gives results without names."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pluggy


@dataclass(frozen=True)
class HookCall:
    """One implementation that ran; ``seconds`` includes what a wrapper waits for."""

    hook: str
    plugin: str
    seconds: float
    answered: bool


class Recorder:
    """Instruments the implementations of registered plugins; ``calls`` grows as hooks run."""

    def __init__(self, on_call: Callable[[HookCall], None] | None = None) -> None:
        self.calls: list[HookCall] = []
        self._on_call = on_call
        self._failed: tuple[BaseException, str] | None = None
        self._contributed: dict[int, str] = {}

    def instrument(self, manager: pluggy.PluginManager, plugin: object) -> None:
        for caller in manager.get_hookcallers(plugin) or []:
            for implementation in caller.get_hookimpls():
                if implementation.plugin is plugin:
                    record = self._recorded_wrapper if implementation.wrapper else self._recorded
                    recorded = record(caller.name, implementation.plugin_name, implementation.function)
                    object.__setattr__(implementation, "function", recorded)  # final for type checkers

    def failed_in(self, error: BaseException) -> str | None:
        """The plugin that raised this error in its hook."""
        return self._failed[1] if self._failed is not None and self._failed[0] is error else None

    def answered(self, hook: str) -> str | None:
        """The plugin that answered the last call of this hook."""
        return next((call.plugin for call in reversed(self.calls) if call.hook == hook and call.answered), None)

    def contributor(self, item: object) -> str | None:
        """The plugin that put this item into the list it returned last."""
        return self._contributed.get(id(item))

    def _recorded(self, hook: str, plugin: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any) -> Any:
            started = time.perf_counter()
            result = None
            try:
                result = function(*args)
                if isinstance(result, Generator):
                    result = list(result)
            except Exception as error:
                self._failed = (error, plugin)
                raise
            finally:
                self._note(HookCall(hook, plugin, time.perf_counter() - started, result is not None))
            if isinstance(result, (list, tuple)):
                self._contributed.update({id(item): plugin for item in result})
            return result

        return recorded

    def _recorded_wrapper(self, hook: str, plugin: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*args: Any) -> Generator[None, Any, Any]:
            started = time.perf_counter()
            try:
                return (yield from function(*args))
            except Exception as error:
                if self._failed is None or self._failed[0] is not error:
                    self._failed = (error, plugin)
                raise
            finally:
                self._note(HookCall(hook, plugin, time.perf_counter() - started, False))

        return recorded

    def _note(self, call: HookCall) -> None:
        self.calls.append(call)
        if self._on_call is not None:
            self._on_call(call)
