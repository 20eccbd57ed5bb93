"""Installed adapters, extensions and decoders, found from metadata alone; nothing is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from adaptrt.specs.installed import declaring_distributions

ADAPTERS = "adaptrt.adapters"
EXTENSIONS = "adaptrt.extensions"


@dataclass(frozen=True)
class Candidate:
    """An entry point and its distribution."""

    name: str
    group: str
    module: str
    distribution: str
    version: str
    requires: tuple[str, ...]
    summary: str
    entry_point: metadata.EntryPoint

    @property
    def source(self) -> str:
        return f"{self.distribution} {self.version}"

    def problems(self) -> list[str]:
        """Unmet requirements of the distribution."""
        return [problem for text in self.requires if (problem := unmet(text)) is not None]


def find_candidates(*groups: str) -> list[Candidate]:
    """Every entry point of these groups, by name and distribution; two may claim one name."""
    found = []
    for name, distribution in declaring_distributions():
        points = [point for point in distribution.entry_points if point.group in groups]
        if not points:
            continue
        known = _metadata(distribution)
        requires = tuple(distribution.requires or ()) if known else ()
        found += [
            Candidate(
                name=point.name,
                group=point.group,
                module=point.value,
                distribution=name,
                version=known.get("Version") or "of unknown version",
                requires=requires,
                summary=known.get("Summary") or "",
                entry_point=point,
            )
            for point in points
        ]
    return sorted(found, key=lambda candidate: (candidate.name, candidate.distribution))


def _metadata(distribution: metadata.Distribution) -> Mapping[str, str]:
    """Name, version and so on; empty where an interrupted installation left no metadata behind."""
    try:
        found: Any = distribution.metadata
    except FileNotFoundError:  # raised by the importlib_metadata package, which takes over once it is imported
        return {}
    return dict(found.items()) if found is not None else {}


# distributions that provide the same modules
ALTERNATIVES = {
    "onnxruntime": ("onnxruntime-gpu",),
    "opencv-python": ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless"),
}


def unmet(text: str) -> str | None:
    """Why a requirement, including its extras, is not met in this environment; ``None`` if it is met or does not
    apply."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"{text!r} is not a valid requirement: {error}"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    names = (requirement.name, *ALTERNATIVES.get(requirement.name, ()))
    versions = [version for name in names if (version := installed_version(name)) is not None]
    if not versions:
        return f"{requirement.name} is missing (needs {_wanted(requirement)})"
    if not any(requirement.specifier.contains(version, prereleases=True) for version in versions if version):
        return f"{requirement.name} is {versions[0]} (needs {_wanted(requirement)})"
    for extra in sorted(requirement.extras):
        for inner in required_by_extra(requirement.name, extra):
            problem = unmet(inner)
            if problem is not None:
                return problem
    return None


def required_by_extra(distribution: str, extra: str) -> list[str]:
    """What this extra of an installed distribution adds to its requirements; markers removed."""
    try:
        texts = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for text in texts:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra}):
            requirement.marker = None
            found.append(str(requirement))
    return found


def _wanted(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except (metadata.PackageNotFoundError, FileNotFoundError):
        return None
