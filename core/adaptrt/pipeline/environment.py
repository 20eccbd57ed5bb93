"""Package versions, read from metadata without imports, and the location of torch's compiler cache."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from adaptrt.plugins.discovery import ADAPTERS, ALTERNATIVES, EXTENSIONS, find_candidates, installed_version

if TYPE_CHECKING:
    from adaptrt.report import Report

_INDUCTOR_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
# core's own distribution is among those of the backends, tasks, decoders and precisions
_GROUPS = ("adaptrt.backends", "adaptrt.tasks", "adaptrt.decoders", "adaptrt.precisions", ADAPTERS, EXTENSIONS)


def described_packages(*more: str) -> list[str]:
    """Every distribution of interest to a conversion: adaptrt, the installed plugins, and what they require. ``more``: further
    groups of entry points.

    Extras are included, since a framework that conflicts with others is an extra (``adaptrt-openvino[openvino]``).
    """
    requires = {candidate.distribution: candidate.requires for candidate in find_candidates(*_GROUPS, *more)}
    names: dict[str, None] = {}
    for distribution, texts in requires.items():
        names[canonicalize_name(distribution)] = None
        names.update(dict.fromkeys(_required(texts)))
    return list(names)


def conversion_versions(report: Report) -> dict[str, str]:
    """What of the environment decides a conversion: adaptrt, its extras and numpy, the plugins, and the requirements of
    the adapter."""
    extras = _required(text for text in metadata.requires("adaptrt") or () if "extra ==" in text)
    # the extras that are adapters have no part in the conversions of others
    names = {"adaptrt", "numpy", *(name for name in extras if not name.startswith("adaptrt-"))}
    names |= {canonicalize_name(source.rpartition(" ")[0]) for source in report.plugins.values()}
    for candidate in find_candidates(ADAPTERS):
        if candidate.name == report.adapter:
            names.update(_required(candidate.requires))
    return {name: version for name, version in report.environment.items() if canonicalize_name(name) in names}


def _required(texts: Iterable[str]) -> Iterator[str]:
    """The distributions that requirements name on this platform, and those that provide the same modules."""
    for text in texts:
        with contextlib.suppress(InvalidRequirement):  # reported as the plugin's problem where it is chosen
            requirement = Requirement(text)
            if _applies(requirement):
                name = canonicalize_name(requirement.name)
                yield from (name, *ALTERNATIVES.get(name, ()))


def _applies(requirement: Requirement) -> bool:
    """Whether it is required on this platform, always or by an extra; ``extra == "a"`` is true only for the extra ``a``."""
    if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
        return True
    extras = re.findall(r"""extra == ["']([^"']+)["']""", str(requirement.marker))
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def describe_environment() -> dict[str, str]:
    """Python, the platform, and each installed package of interest with its version."""
    versions = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in described_packages():
        version = installed_version(package)
        if version is not None:
            versions[package] = version
    return versions


@contextmanager
def inductor_cache(workdir: Path) -> Iterator[None]:
    """Put torch's compiler cache into the work folder: importing torch._dynamo creates one in the shared temporary folder.

    No effect if the user has set a location.
    """
    if _INDUCTOR_VARIABLE in os.environ:
        yield
        return
    os.environ[_INDUCTOR_VARIABLE] = str(workdir.absolute() / "inductor")
    try:
        yield
    finally:
        os.environ.pop(_INDUCTOR_VARIABLE, None)
