"""Finds what a patch's target names, and checks that the installed version is one it was written for."""

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
    """``owner.attribute`` is what is replaced; ``value`` is it as stored, maybe in a base class (a staticmethod stays one)."""

    owner: Any
    attribute: str
    value: Any


def check_version(patch: Patch, plugin: str) -> None:
    """A version outside the patch's range is an error: it was never seen to work there."""
    try:
        requirement = Requirement(patch.requires)
    except InvalidRequirement as error:
        raise PatchError(
            f"Patch of {patch.target} ({plugin}): requires={patch.requires!r} is no requirement: {error}"
        ) from None
    version = installed_version(requirement.name)
    if version is None or not requirement.specifier.contains(version, prereleases=True):
        raise PatchError(
            f"Patch of {patch.target} ({plugin}) supports {requirement}, and {requirement.name} {version or 'nothing'} is installed.",
            hint=f"Install a supported version (pip install '{requirement}'), or a newer release of the adapter.",
        )


def resolve(patch: Patch, plugin: str) -> Target:
    """The target of a patch; a ``PatchError`` says which part of the path is missing."""
    module_name, colon, path = patch.target.partition(":")
    if not colon or not path:
        raise PatchError(
            f"Patch target {patch.target!r} ({plugin}) has no attribute.", hint="Write package.module:Class.method"
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
    name = patch.target.partition(".")[0].partition(":")[0]
    return PatchError(
        f"Patch of {patch.target} ({plugin}): {what}.",
        hint=f"{patch.requires} is supported, {name} {installed_version(name) or '(unknown version)'} is installed; "
        "the patch needs an update for it.",
    )
