"""Objects of one kind, found by name among the entry points of a group: tasks, backends, precisions, decoders."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from adaptrt.errors import DependencyError, PluginError, UsageError, did_you_mean
from adaptrt.specs.installed import declaring_distributions, install_target
from adaptrt.specs.registered import members, missing_members, wrong_member

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_CORE = "adaptrt"
# groups that are read, besides those of the registries
_OTHER_GROUPS = ("adaptrt.adapters", "adaptrt.extensions", "adaptrt.recognizers")
# names of this project's extensions by group, for whom has not installed them
_EXTENSIONS = {
    ("adaptrt.backends", "openvino"): "adaptrt-openvino",
    ("adaptrt.executors", "ray"): "adaptrt-ray",
    ("adaptrt.packagers", "triton"): "adaptrt-triton",
}


class Registry(Generic[T]):
    """The objects of ``group``, each imported when it is requested.

    ``kind`` is their name in messages. An entry point ``name = module:attribute`` names an instance of ``type`` (a
    class, or a runtime-checkable protocol) whose attribute ``name`` is that name. ``core_first``: core's own names are
    found in its own metadata, without reading that of every distribution, and no other distribution can claim them.
    """

    def __init__(self, group: str, kind: str, type: type[T] | Any, *, core_first: bool = False) -> None:  # noqa: A002
        self.group = group
        self.kind = kind
        self.core_first = core_first
        self._type = type
        self._found: dict[str, T] = {}
        self._skipped: dict[str, str] = {}
        _registries.append(self)

    def names(self) -> list[str]:
        """Every name that ``find`` knows, sorted; nothing is imported."""
        return declared_names(self.group)

    def __contains__(self, name: str) -> bool:
        return bool(self._claims(name))

    def core_names(self) -> list[str]:
        """The names that core declares, sorted; only core's own metadata is read."""
        return core_names(self.group)

    def ignored(self) -> list[tuple[str, str]]:
        """Name and distribution of each claim on one of core's names (``core_first``)."""
        return [
            (name, distribution)
            for name in (self.core_names() if self.core_first else [])
            for distribution in sorted(_declared()[self.group][name])
            if distribution != _CORE
        ]

    def find(self, name: str) -> T:
        """The object with this name.

        Raises a ``UsageError`` if there is none, and a ``PluginError`` if two distributions claim the name or the object
        cannot be loaded.
        """
        if name not in self._found:
            self._found[name] = self._load(name)
        return self._found[name]

    def all(self) -> Iterator[T]:
        """Every object, by name. Objects that cannot be loaded are skipped; ``skipped_plugins`` has the reasons."""
        for name in self.names():
            if name in self._skipped:
                continue
            try:
                found = self.find(name)
            except PluginError as error:
                self._skipped[name] = error.message
                continue
            yield found

    def distribution(self, name: str) -> str:
        """The distribution that provides a name, with its version."""
        distribution, point = next(iter(self._claims(name).items()))
        return f"{distribution} {point.dist.version}" if point.dist else distribution

    def install_hint(self, name: str) -> str | None:
        """How to install the extension that provides a name, if it is one of this project's."""
        distribution = _EXTENSIONS.get((self.group, name))
        return f"Install it: pip install {install_target(distribution)}" if distribution else None

    def _claims(self, name: str) -> Mapping[str, EntryPoint]:
        """Distribution to entry point."""
        own = _declared_by_core().get(self.group, {})
        if self.core_first and name in own:
            return {_CORE: own[name]}
        return _declared().get(self.group, {}).get(name, {})

    def _load(self, name: str) -> T:
        claims = self._claims(name)
        if not claims:
            raise UsageError(
                f"Unknown {self.kind} {name!r}.",
                hint=self.install_hint(name) or " ".join([did_you_mean(name, self.names()), *unread_groups(name)]),
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
        kind, article = self._type.__name__, "an" if self._type.__name__[0] in "AEIOU" else "a"
        if isinstance(found, type) or not isinstance(found, self._type):
            given = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
            lacking = [] if isinstance(found, type) else missing_members(found, self._type)
            if 0 < len(lacking) < len(members(self._type)):  # else it is another kind of object
                given += f", which lacks {', '.join(lacking)}"
            raise PluginError(
                f"{point.value} of {distribution} is not {article} {kind}: it is {given}.",
                hint=f"An entry point in {self.group} names an instance of {self._type.__module__}.{kind}.",
            )
        if getattr(found, "name", None) != name:
            raise PluginError(
                f"{point.value} of {distribution} is not {article} {kind} with the name {name!r}: "
                f"its name is {getattr(found, 'name', None)!r}.",
                hint=f"Use the same name in the entry point and in the {kind}.",
            )
        wrong = wrong_member(found, self._type) if distribution != _CORE else None
        if wrong:
            raise PluginError(
                f"{point.value} of {distribution} cannot be used: {wrong}",
                hint=f"See {self._type.__module__}.{kind}.",
            )
        return found


_registries: list[Registry[Any]] = []


def unread_groups(name: str | None = None) -> list[str]:
    """A sentence for each entry-point group ``adaptrt.*`` that an installed distribution declares and adaptrt does not have.

    ``name``: only groups with this name. Groups of core's metadata are known: some of them are read without a registry.
    """
    known = {*_OTHER_GROUPS, *_declared_by_core(), *(one.group for one in _registries)}
    return [
        f"{distribution} declares {point!r} in the entry-point group {group!r}, which does not exist: "
        f"{did_you_mean(group, sorted(known))}"
        for group, points in _declared().items()
        if group.startswith("adaptrt.") and group not in known
        for point, claims in points.items()
        if name in (None, point)
        for distribution in claims
    ]


@functools.cache
def _declared_by_core() -> Mapping[str, dict[str, EntryPoint]]:
    """Group to name to entry point, of core alone."""
    from importlib import metadata

    found: dict[str, dict[str, EntryPoint]] = defaultdict(dict)
    try:
        points = metadata.distribution(_CORE).entry_points
    except metadata.PackageNotFoundError:
        raise DependencyError(
            "adaptrt is not installed: Python finds only its source files.", hint="Install it: pip install adaptrt"
        ) from None
    for point in points:
        found[point.group][point.name] = point
    return dict(found)  # looking up a group must not add it, while another thread iterates


@functools.cache
def _declared() -> Mapping[str, dict[str, dict[str, EntryPoint]]]:
    """Group to name to distribution to entry point, read once."""
    found: dict[str, dict[str, dict[str, EntryPoint]]] = defaultdict(lambda: defaultdict(dict))
    for group, points in _declared_by_core().items():
        for name, point in points.items():
            found[group][name][_CORE] = point
    for distribution, installed in declaring_distributions():
        for point in installed.entry_points if distribution != _CORE else ():
            found[point.group][point.name].setdefault(distribution, point)
    return {group: dict(names) for group, names in found.items()}


def declared_names(group: str) -> list[str]:
    """The names that installed distributions declare in an entry-point group, sorted. Nothing is imported."""
    return sorted(_declared().get(group, ()))


def distribution_of_module(module: str) -> str | None:
    """The distribution, other than core, with an entry point in this top-level module."""
    for names in _declared().values():
        for claims in names.values():
            for distribution, point in claims.items():
                if distribution != _CORE and point.value.partition(":")[0].partition(".")[0] == module:
                    return distribution
    return None


def core_names(group: str) -> list[str]:
    """The names that core declares in an entry-point group, sorted. Nothing is imported; only core's metadata is read."""
    return sorted(_declared_by_core().get(group, ()))


def skipped_plugins() -> list[str]:
    """The reason for each object that ``all`` skipped because it could not be loaded."""
    return [f"Skipped: {message}" for registry in _registries for message in [*registry._skipped.values()]]


def forget_declared() -> None:
    """Read the entry points again at the next use: for tests that install distributions."""
    _declared.cache_clear()
    _declared_by_core.cache_clear()
    for registry in _registries:
        registry._found.clear()
        registry._skipped.clear()
