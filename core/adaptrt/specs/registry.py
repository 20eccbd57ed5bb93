"""Objects of one kind, found by name among the entry points of a group: tasks, backends, precisions, decoders."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from adaptrt.errors import PluginError, UsageError, did_you_mean

T = TypeVar("T")

_PREFIX = "adaptrt."


class Registry(Generic[T]):
    """The objects of ``group``, each imported when it is asked for.

    ``kind`` is what messages call them. An entry point ``name = module:attribute`` names an instance of ``type`` (a
    class, or a runtime-checkable protocol) whose attribute ``name`` is that name.
    """

    def __init__(self, group: str, kind: str, type: type[T] | Any) -> None:  # noqa: A002
        self.group = group
        self.kind = kind
        self._type = type
        self._found: dict[str, T] = {}
        self._read: object = None

    def names(self) -> list[str]:
        """Every name that ``find`` knows, sorted; nothing is imported."""
        return sorted(_declared()[self.group])

    def find(self, name: str) -> T:
        """The object of this name.

        Raises a ``UsageError`` if there is none, and a ``PluginError`` if two distributions claim the name or the object
        cannot be loaded.
        """
        declared = _declared()
        if declared is not self._read:  # entry points were read again
            self._found, self._read = {}, declared
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def all(self) -> Iterator[T]:
        """Every object, by name; one that cannot be loaded raises."""
        return map(self.find, self.names())

    def distribution(self, name: str) -> str:
        """The distribution that brings a name, with its version."""
        distribution, point = next(iter(_declared()[self.group][name].items()))
        return f"{distribution} {point.dist.version}" if point.dist else distribution

    def _load(self, name: str) -> T:
        claims = _declared()[self.group].get(name, {})
        if not claims:
            raise UsageError(
                f"Unknown {self.kind} {name!r}.",
                hint=did_you_mean(name, self.names()) or f"Available: {', '.join(self.names())}",
            )
        if len(claims) > 1:
            other = next(claim for claim in sorted(claims) if claim != "adaptrt")
            raise PluginError(
                f"The {self.kind} {name!r} is claimed by {' and by '.join(sorted(claims))}.",
                hint=f"Uninstall one: pip uninstall {other}",
            )
        ((distribution, point),) = claims.items()
        try:
            found: Any = point.load()
        except Exception as error:
            raise PluginError(
                f"The {self.kind} {name!r} of {distribution} cannot be loaded: {type(error).__name__}: {error}.",
                hint=f"It is declared as {point.value}.",
            ) from error
        if not isinstance(found, self._type) or getattr(found, "name", None) != name:
            raise PluginError(
                f"{point.value} of {distribution} is not a {self._type.__name__} with the name {name!r}.",
                hint=f"An entry point in {self.group} names an instance of {self._type.__module__}.{self._type.__name__}.",
            )
        return found


@functools.cache
def _declared() -> Mapping[str, dict[str, dict[str, EntryPoint]]]:
    """Group to name to distribution to entry point, read once; a distribution found twice on the path counts once."""
    found: dict[str, dict[str, dict[str, EntryPoint]]] = defaultdict(lambda: defaultdict(dict))
    everything = entry_points()
    for group in everything.groups:
        for point in everything.select(group=group) if group.startswith(_PREFIX) else ():
            distribution = point.dist.name if point.dist else "an unknown distribution"
            found[group][point.name].setdefault(distribution, point)
    return found


def forget_declared() -> None:
    """Read the entry points again at the next use: for tests that install distributions."""
    _declared.cache_clear()
