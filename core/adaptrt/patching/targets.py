"""Finds the target of a patch, and checks that the installed version is supported."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from adaptrt.contributions import Patch
from adaptrt.errors import PatchError
from adaptrt.plugins.discovery import installed_version


@dataclass(frozen=True)
class Target:
    """``owner.attribute`` is what is replaced; ``value`` is the stored attribute, possibly of a base class (a staticmethod stays one)."""

    owner: Any
    attribute: str
    value: Any


def check_version(patch: Patch, plugin: str) -> str:
    """The installed version if the patch was not tested with it, else ``""``; a version outside the range is an error."""
    requirement = _requirement(patch, plugin, "requires", patch.requires)
    version = installed_version(requirement.name)
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        raise PatchError(
            f"Patch of {patch.target} ({plugin}) supports {requirement}; installed: {requirement.name} {version or '(not installed)'}.",
            hint=f"Install a supported version (pip install '{requirement}'), or a newer release of the adapter.",
        )
    if not patch.tested:
        return ""
    tested = _requirement(patch, plugin, "tested", patch.tested)
    if tested.name != requirement.name:
        raise PatchError(
            f"Patch of {patch.target} ({plugin}): tested names {tested.name}, but requires names {requirement.name}.",
            hint="Both must name the distribution that is patched.",
        )
    return "" if tested.specifier.contains(version, prereleases=True) else version


def _requirement(patch: Patch, plugin: str, field: str, text: str) -> Requirement:
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise PatchError(
            f"Patch of {patch.target} ({plugin}): {field}={text!r} is not a valid requirement: {error}"
        ) from None


def resolve(patch: Patch, plugin: str) -> Target:
    """The target of a patch; a ``PatchError`` names the missing part of the path."""
    module_name, colon, path = patch.target.partition(":")
    if not colon or not path:
        raise PatchError(
            f"Patch target {patch.target!r} ({plugin}) has no attribute.",
            hint="Use the form package.module:Class.method",
        )
    try:
        owner: Any = importlib.import_module(module_name)
    except Exception as error:
        raise _missing(patch, plugin, f"module {module_name} cannot be imported: {error}") from error
    *parents, attribute = path.split(".")
    for parent in parents:
        if not hasattr(owner, parent):
            raise _missing(patch, plugin, f"{parent!r} is not in {owner.__name__}")
        owner = getattr(owner, parent)
    if not hasattr(owner, attribute):
        raise _missing(patch, plugin, f"{attribute!r} is not in {getattr(owner, '__name__', owner)}")
    return Target(owner, attribute, inspect.getattr_static(owner, attribute))


def _missing(patch: Patch, plugin: str, what: str) -> PatchError:
    name = Requirement(patch.requires).name
    version = installed_version(name)
    return PatchError(
        f"Patch of {patch.target} ({plugin}): {what}.",
        hint=f"{name} {version or '(unknown version)'} is installed, {patch.requires} is supported. "
        f"Install a tested version (pip install '{patch.tested or patch.requires}'), or a newer release of the adapter.",
    )
