"""Calls of backends whose results are checked, so that a mistake in a plugin's backend names the plugin and the method."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import PluginError
from adaptrt.specs.backends import BACKENDS, Backend, BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.registered import missing_members
from adaptrt.specs.runners import FileRunner

if TYPE_CHECKING:
    from adaptrt.specs.descriptions import Description
    from adaptrt.specs.precisions import Precision
    from adaptrt.specs.targets import Target


def expression_of(backend: Backend, precision: Precision, target: Target) -> Expression:
    """``Backend.express``."""
    found: Any = backend.express(precision, target)
    if not isinstance(found, Expression):
        raise _wrong(backend, "express", "an Expression", found)
    return found


def build_file(backend: Backend, request: BackendRequest) -> Built:
    """``Backend.build``; its files exist, and the backend opens the first one."""
    found: Any = backend.build(request)
    if not isinstance(found, Built):
        raise _wrong(backend, "build", "a Built", found)
    if not isinstance(found.files, Mapping) or not found.files:
        raise _wrong(backend, "build", "a Built whose files map a suffix to each file", found.files)
    first = next(iter(found.files))
    if first not in backend.suffixes:
        raise PluginError(
            f"{_named(backend)} returned the suffix {first!r} first from build, but opens files {', '.join(backend.suffixes)}.",
            hint="The first file of Built.files is the one to open.",
        )
    missing = [path for path in found.files.values() if not Path(path).exists()]
    if missing:
        raise PluginError(
            f"{_named(backend)} returned a file from build that does not exist: {Path(missing[0]).name}.",
            hint="build must write each file of Built.files, or raise a BuildError.",
        )
    return found


def open_runner(backend: Backend, path: Path, options: OpenOptions) -> FileRunner:
    """``Backend.open``."""
    found: Any = backend.open(path, options)
    lacking = missing_members(found, FileRunner)
    if lacking:
        raise _wrong(backend, "open", f"a runner with {', '.join(lacking)}", found)
    runner: FileRunner = found
    return runner


def describe_file(backend: Backend, path: Path) -> Description:
    """``Backend.describe``."""
    from adaptrt.specs.descriptions import Description

    found: Any = backend.describe(path)
    if not isinstance(found, Description):
        raise _wrong(backend, "describe", "a Description", found)
    return found


def _wrong(backend: Backend, method: str, wanted: str, found: object) -> PluginError:
    given = "nothing" if found is None else f"{type(found).__name__} {found!r:.60}"
    return PluginError(
        f"{_named(backend)} must return {wanted} from {method}, but returned {given}.",
        hint=f"See adaptrt.specs.backends.Backend.{method}.",
    )


def _named(backend: Backend) -> str:
    known = backend.name in BACKENDS
    return f"Backend {backend.name!r}" + (f" ({BACKENDS.distribution(backend.name)})" if known else "")
