"""Strict stand-ins for TensorRT, made from the recorded surface of its official bindings.

A stand-in has exactly the names of its version: a class, an enum member, a method, a keyword or a settable property that
is not in the surface fails. What a stand-in returns says nothing about what TensorRT would do.
"""

from __future__ import annotations

import enum
import re
from types import SimpleNamespace
from typing import Any

import pytest
from tensorrt_surfaces import VERSIONS, read_surface

_SIGNATURE = re.compile(r"\((?P<parameters>.*)\)(?: -> (?P<returned>.+))?$")


def make_stand_in(version: str) -> SimpleNamespace:
    """The module; ``module.calls`` records calls as (class, method, arguments), ``module.answers[class, method]`` is
    what a method gives back instead of a plain value of its declared type."""
    surface = read_surface(version)
    module = _Module(surface, version)
    for name, entry in surface.items():
        module.add(name, entry)
    return module.namespace


class _Module:
    def __init__(self, surface: dict[str, Any], version: str) -> None:
        self.surface = surface
        self.namespace = SimpleNamespace(__version__=version, calls=[], answers={})

    def add(self, name: str, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        if kind == "enum":
            setattr(self.namespace, name, _enum(name, entry["members"]))
        elif kind == "class":
            setattr(self.namespace, name, self.make_class(name, entry))
        elif kind == "function":
            setattr(self.namespace, name, self.make_method(None, name, entry))

    def make_class(self, name: str, entry: dict[str, Any]) -> type:
        members = dict(entry["members"])
        for base in entry["bases"]:
            members = {**self.surface.get(base, {"members": {}})["members"], **members}
        settable = {key for key, value in members.items() if value["kind"] == "property" and value["settable"]}
        properties = {key for key, value in members.items() if value["kind"] == "property"}
        calls = self.namespace.calls

        def setattr_strict(this: Any, key: str, value: Any) -> None:
            if type(this).__name__ == name:  # subclasses in Python may have what they like
                if key not in settable:
                    raise AttributeError(f"TensorRT {self.namespace.__version__}: {name}.{key} cannot be set")
                calls.append((name, key, (value,)))
            object.__setattr__(this, key, value)

        def getattr_strict(this: Any, key: str) -> Any:
            if key in properties:
                return self.namespace.answers.get((name, key), 0)
            raise AttributeError(f"TensorRT {self.namespace.__version__}: {name} has no {key!r}")

        def construct(this: Any, *arguments: Any, **keywords: Any) -> None:
            self.check_arguments(f"{name}.__init__", members.get("__init__", {}), arguments, keywords)

        body: dict[str, Any] = {"__init__": construct, "__setattr__": setattr_strict, "__getattr__": getattr_strict}
        for key, value in members.items():
            if value["kind"] == "method" and key != "__init__":
                body[key] = self.make_method(name, key, value)
            elif value["kind"] == "enum":
                body[key] = _enum(key, value["members"])
        return type(name, (), body)

    def make_method(self, owner: str | None, name: str, entry: dict[str, Any]) -> Any:
        def method(*arguments: Any, **keywords: Any) -> Any:
            own = arguments[1:] if owner else arguments
            self.check_arguments(f"{owner}.{name}" if owner else name, entry, own, keywords)
            self.namespace.calls.append((owner, name, (*own, *keywords.values())))
            if (owner, name) in self.namespace.answers:
                answer = self.namespace.answers[owner, name]
                return answer(*own, **keywords) if callable(answer) else answer
            return self.plain_value(entry)

        return method

    def check_arguments(self, label: str, entry: dict[str, Any], arguments: Any, keywords: Any) -> None:
        signatures = [_SIGNATURE.search(text) for text in entry.get("signatures", ())]
        if not any(signatures):
            return
        for signature in signatures:
            names, required = _parameters(signature["parameters"]) if signature else ([], 0)
            given = len(arguments) + len(keywords)
            if required <= given <= len(names) and set(keywords) <= set(names[len(arguments) :]):
                return
        raise TypeError(f"TensorRT {self.namespace.__version__}: {label} does not take {arguments!r} {keywords!r}")

    def plain_value(self, entry: dict[str, Any]) -> Any:
        signature = next(filter(None, map(_SIGNATURE.search, entry.get("signatures", ()))), None)
        returned = (signature["returned"] or "None") if signature else "None"
        short = returned.rpartition(".")[2].rpartition("::")[2]
        short = short if short in self.surface else short.removeprefix("I")  # 8.6 prints some names of C++
        if short in self.surface and self.surface[short]["kind"] == "class":
            made = getattr(self.namespace, short)
            return made.__new__(made)
        return {"bool": True, "int": 0, "str": "{}"}.get(returned)


def _parameters(text: str) -> tuple[list[str], int]:
    """Names without ``self``, and how many have no default."""
    parts = [part.strip() for part in re.split(r",(?![^\[(<]*[\])>])", text) if part.strip()]
    parts = [part for part in parts if not part.startswith("self")]
    return [part.partition(":")[0].strip() for part in parts], sum("=" not in part for part in parts)


def _enum(name: str, members: list[str]) -> Any:
    return enum.IntEnum(name, {member: index for index, member in enumerate(members)})


@pytest.fixture(params=VERSIONS)
def stand_in(request: pytest.FixtureRequest) -> SimpleNamespace:
    return make_stand_in(request.param)


@pytest.fixture
def stand_in_of() -> Any:
    return make_stand_in


@pytest.fixture
def surfaces() -> dict[str, dict[str, Any]]:
    return {version: read_surface(version) for version in VERSIONS}
