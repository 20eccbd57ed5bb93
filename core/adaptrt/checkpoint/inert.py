"""Inert stand-ins for classes, functions and objects that a checkpoint names; they are never run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class InertName:
    """A class or function that the file refers to; it is not imported."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """The dotted name: ``models.common.Conv``."""
        return f"{self.module}.{self.name}"

    def __repr__(self) -> str:
        return f"<inert {self.path}>"


@dataclass(slots=True, eq=False, repr=False)
class InertObject:
    """An object that the file would have created: the call, its arguments, and the state that would have been set.

    ``items`` is what was appended (a subclass of list), ``entries`` what was set by key (a subclass of dict).
    """

    callee: InertName | InertObject
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The dotted name of the class or function that was called."""
        callee: InertName | InertObject = self.callee
        while isinstance(callee, InertObject):
            callee = callee.callee
        return callee.path

    @property
    def name(self) -> str:
        """The last part of ``path``: ``Conv``."""
        return self.path.rpartition(".")[2]

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The instance's ``__dict__`` as the state gives it, slots included; empty if the state is something else."""
        states: Sequence[Any] = self.state if isinstance(self.state, tuple) and len(self.state) == 2 else (self.state,)
        merged: dict[str, Any] = {}
        for state in states:
            if isinstance(state, dict):
                merged.update((key, value) for key, value in state.items() if isinstance(key, str))
        return merged

    def get(self, attribute: str, default: Any = None) -> Any:
        return self.attributes.get(attribute, default)

    def mapping(self, attribute: str) -> dict[str, Any]:
        """An attribute that should be a dict with text as keys, such as ``_modules``; empty if it is not."""
        value = self.get(attribute)
        return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}

    def __repr__(self) -> str:
        return f"<inert {self.path} object>"
