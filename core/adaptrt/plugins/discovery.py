"""What is installed: adapters, extensions and decoders, from metadata alone; nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement

ADAPTERS = "adaptrt.adapters"
EXTENSIONS = "adaptrt.extensions"


@dataclass(frozen=True)
class Candidate:
    """An entry point, and the distribution that brings it."""

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
        """Requirements of the distribution that are not met here."""
        return [problem for text in self.requires if (problem := unmet(text)) is not None]


def find_candidates(group: str) -> list[Candidate]:
    """Every entry point of a group, by name and distribution; two may claim one name."""
    found = []
    for distribution in metadata.distributions():
        for entry in distribution.entry_points:
            if entry.group == group:
                found.append(
                    Candidate(
                        name=entry.name,
                        group=group,
                        module=entry.value,
                        # what an interrupted installation leaves behind may have neither
                        distribution=distribution.metadata["Name"] or "an unknown distribution",
                        version=distribution.version or "of unknown version",
                        requires=tuple(distribution.requires or ()),
                        summary=distribution.metadata["Summary"] or "",
                        entry_point=entry,
                    )
                )
    unique = {(found.name, found.distribution): found for found in reversed(found)}  # the first on sys.path wins
    return sorted(unique.values(), key=lambda candidate: (candidate.name, candidate.distribution))


def unmet(text: str) -> str | None:
    """Why a requirement is not met in this environment; ``None`` if it is, or does not apply."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        return f"{text!r} is no requirement: {error}"
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing (needs {_wanted(requirement)})"
    if version and not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement.name} is {version} (needs {_wanted(requirement)})"
    return None


def _wanted(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
