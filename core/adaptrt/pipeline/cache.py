"""A conversion that was made before: found by everything it depends on, before a framework is imported."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sysconfig
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from packaging.requirements import InvalidRequirement, Requirement

from adaptrt.errors import AdaptrtError
from adaptrt.pipeline.environment import describe_environment
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import Settings
from adaptrt.report import Report
from adaptrt.request import Request
from adaptrt.trt.cache import key_of
from adaptrt.trt.cuda import driver_version, identify_device
from adaptrt.trt.manifest import file_sha256
from adaptrt.trt.model_files import CHECKPOINT_SUFFIXES
from adaptrt.trt.versions import can_build, target_of

KIND = "conversion"
_FORMAT = 1

# files that hold data, whose content says everything; others are code, which may read whatever it likes
_DATA = {*CHECKPOINT_SUFFIXES, ".bin", ".onnx"}
# fields of a request that the result does not depend on
_APART = {"output", "command", "cache", "verbose"}
_FILES = {"weights", "image", "test_image", "plugins_file"}


def conversion_key(request: Request, session: Session, settings: Settings) -> tuple[str | None, str]:
    """The key of a conversion; or ``None`` and why its result cannot be told from what goes in."""
    if settings.plugins.modules:
        return None, "plugins.toml names modules, whose code may change"
    if not _is_told_by_its_content(request):
        return None, f"{request.source} is code or a name, which may stand for something else next time"
    try:
        parts = {
            "format": _FORMAT,
            "request": _request_parts(request),
            "source": _content(Path(request.source)) if Path(request.source).is_file() else request.source,
            "beside": _beside(request),
            "target": target_of(request),
            "settings": settings.model_dump(mode="json"),
            "plugins": dict(session.sources),
            "distributions": _distributions(session),
            "environment": describe_environment(),
            "gpu": _gpu(request),
        }
    except OSError as error:
        return None, f"{error.filename} cannot be read"  # the conversion will say it better
    return key_of(parts), ""


def _is_told_by_its_content(request: Request) -> bool:
    source = Path(request.source)
    if not source.is_file():  # a name, as of a model or of a config in a wheel (mmdet's end in .py)
        return request.weights is not None and ":" not in request.source and source.suffix in ("", ".py")
    if source.suffix.lower() in _DATA:
        return True
    # a configuration that came with an installed distribution changes only with its version
    return any(source.resolve().is_relative_to(sysconfig.get_path(name)) for name in ("purelib", "platlib"))


def _request_parts(request: Request) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name in _FILES:
            parts[field.name] = _content(value) if value is not None else None
        elif field.name == "shapes":
            parts["shapes"] = {
                **{key: str(part) for key, part in vars(value).items() if key != "dynamic"},
                "dynamic": None if value.dynamic is None else sorted(value.dynamic),
            }
        elif field.name == "build":
            parts["build"] = dataclasses.asdict(value)
            parts["plugin_libs"] = [_content(Path(library)) for library in value.plugin_libs]
        elif field.name == "ort_custom_ops":
            parts["ort_custom_ops"] = [_content(library) for library in value]
        elif (
            field.name == "source"
        ):  # its content counts, and its name goes into reports, and into labels of some adapters
            parts["source"] = Path(value).name
        elif field.name == "options":
            parts["options"] = {key: [str(part), _content_of_file(str(part))] for key, part in value.items()}
        elif field.name not in _APART:
            parts[field.name] = value
    return parts


def _beside(request: Request) -> list[str]:
    """A config beside the weights, or in the folder that is the source: adapters read those."""
    files = [Path(request.source), *([request.weights] if request.weights else [])]
    configs = [path / "config.json" if path.is_dir() else path.with_suffix(".json") for path in files if path.name]
    return [_content(path) for path in configs if path.is_file()]


def _content(path: Path) -> str:
    return file_sha256(path)


def _content_of_file(text: str) -> str | None:
    """For an option that names a file (labels, a configuration): what it holds."""
    return _content(Path(text)) if len(text) < 1024 and "\0" not in text and Path(text).is_file() else None


def _distributions(session: Session) -> dict[str, list[str]]:
    """Plugins' distributions and what they require, with versions; installed editable, the state of their sources."""
    names = {"adaptrt", *(source.rpartition(" ")[0] for source in session.sources.values())} - {""}
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[name] = [distribution.version, *_requirements(distribution), *_sources(distribution)]
    return found


def _requirements(distribution: metadata.Distribution) -> list[str]:
    versions = []
    for text in distribution.requires or ():
        try:
            name = Requirement(text).name
            versions.append(f"{name} {metadata.version(name)}")
        except (InvalidRequirement, metadata.PackageNotFoundError):
            continue
    return sorted(set(versions))


def _sources(distribution: metadata.Distribution) -> list[str]:
    """Path, size and time of each source file of a distribution that is installed editable."""
    text = distribution.read_text("direct_url.json")
    location = json.loads(text) if text else {}
    if not location.get("dir_info", {}).get("editable"):
        return []
    folder = Path(unquote(urlparse(location["url"]).path))
    return [
        f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for top in _packages(folder)
        for path in sorted(top.rglob("*.py"))
    ]


def _packages(folder: Path) -> list[Path]:
    """The folders of an editable distribution that hold its packages: those with an ``__init__.py``, one or two levels down."""
    return sorted({path.parent for pattern in ("*/__init__.py", "*/*/__init__.py") for path in folder.glob(pattern)})


def _gpu(request: Request) -> list[str]:
    """The GPU, where engines are built: they are made for it."""
    if not can_build():
        return []
    try:
        name, capability = identify_device(request.build.device)
    except AdaptrtError:
        return ["none"]
    return [name, capability, driver_version() or ""]


def adopt(report: Report, stored: Report, files: Mapping[str, Path], created: float) -> bool:
    """Make ``report`` the stored one, under this conversion's own names (``files``: suffix to destination).

    Whether they were the same names and the same command already.
    """
    same = (report.source, report.command) == (stored.source, stored.command)
    kept = ("source", "command", "weights", "options", "stages", "warnings")
    own = {name: getattr(report, name) for name in kept}
    for field in dataclasses.fields(stored):
        setattr(report, field.name, getattr(stored, field.name))
    for name, value in own.items():
        setattr(report, name, value)
    report.cached = datetime.datetime.fromtimestamp(created).isoformat(sep=" ", timespec="minutes")
    report.warnings.extend(warning for warning in stored.warnings if warning not in report.warnings)
    for record in report.files.values():
        name = Path(record.path).name
        suffix = max((suffix for suffix in files if name.endswith(suffix)), key=len, default=None)
        if suffix is not None:
            same = same and record.path == str(files[suffix])
            record.path = str(files[suffix])
    return same
