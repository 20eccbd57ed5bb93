"""Reuse of earlier conversions, found by a key over everything they depend on, before a framework is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from adaptrt.backends.choice import chosen_backends, target_for, target_of
from adaptrt.errors import AdaptrtError, UsageError
from adaptrt.pipeline.environment import describe_environment
from adaptrt.pipeline.output import kind_of
from adaptrt.plugins.discovery import find_candidates
from adaptrt.plugins.session import Session
from adaptrt.plugins.settings import Settings
from adaptrt.report import Report
from adaptrt.request import Request
from adaptrt.specs.backend_parts import NamesMachine
from adaptrt.specs.backends import BACKENDS
from adaptrt.specs.installed import installed_distribution
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.store.cache import Store, key_of
from adaptrt.store.cache_entry import Entry
from adaptrt.store.model_files import CHECKPOINT_SUFFIXES
from adaptrt.store.source_files import SourceFiles

KIND = "conversion"
_FORMAT = 1

# data files, fully described by their content; others are code, which may read anything, even if they are part of
# a distribution: a configuration inherits from others
_DATA = {*CHECKPOINT_SUFFIXES, ".onnx"}
# fields of a request that the result does not depend on
_APART = {"diagnose", "require", "output", "command", "cache", "verbose"}
_FILES = {"weights", "image", "test_image", "plugins_file"}
_REPORT, _HTML = ".report.json", ".report.html"


def watch_sources(request: Request) -> SourceFiles:
    """The current state of every file that a request names; ``conversion_key`` adds those that the key needs."""
    sources = SourceFiles()
    named = (Path(request.source), *(getattr(request, name) for name in _FILES))
    for path in (*named, *map(Path, request.build.plugin_libs), *request.ort_custom_ops):
        if path is not None:
            sources.watch(path)
    return sources


def conversion_key(
    request: Request,
    session: Session,
    settings: Settings,
    sources: SourceFiles | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str | None, str]:
    """The key of a conversion, or ``None`` and the reason why its inputs do not determine its result.

    ``sources`` remembers the files that were hashed. ``environment``: that of the report, if it is known.
    """
    sources = sources or SourceFiles()
    if settings.plugins.modules:
        return None, "plugins.toml names modules, whose code may change"
    if request.calibration is not None or request.data is not None:
        return None, "calibration and labeled images are not part of the key"
    if not _is_data_or_name(request):
        return None, f"{request.source} is code or a name, whose content may change"
    try:
        distributions = _distributions(request, session)
        parts = {
            "format": _FORMAT,
            "request": _request_parts(request, sources),
            "source": sources.content(Path(request.source)) if Path(request.source).exists() else request.source,
            "beside": _beside(request, sources),
            "target": target_of(request).name,
            "settings": msgspec.to_builtins(settings),
            "plugins": dict(session.sources),
            "distributions": distributions,
            "environment": describe_environment() if environment is None else environment,
            "machine": _machine(request),
        }
    except OSError as error:
        return None, f"{error.filename} cannot be read"  # the conversion raises the detailed error
    except UsageError as error:
        return None, error.message
    return key_of(parts), ""


def _is_data_or_name(request: Request) -> bool:
    source = Path(request.source)
    if source.is_file():
        return source.suffix.lower() in _DATA
    # a name, as of a model or of a config in a wheel (mmdet's end in .py)
    return request.weights is not None and ":" not in request.source and source.suffix in ("", ".py")


def _request_parts(request: Request, sources: SourceFiles) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for field in dataclasses.fields(request):
        value = getattr(request, field.name)
        if field.name in _FILES:
            parts[field.name] = sources.content(value) if value is not None else None
        elif field.name == "shapes":
            parts["shapes"] = {
                **{key: str(part) for key, part in vars(value).items() if key != "dynamic"},
                "dynamic": None if value.dynamic is None else sorted(value.dynamic),
            }
        elif field.name == "build":
            parts["build"] = dataclasses.asdict(value)
            parts["plugin_libs"] = [sources.content(Path(library)) for library in value.plugin_libs]
        elif field.name == "ort_custom_ops":
            parts["ort_custom_ops"] = [sources.content(library) for library in value]
        elif (
            field.name == "source"
        ):  # its content is hashed; its name is used in reports, and in labels by some adapters
            parts["source"] = Path(value).name
        elif field.name == "options":
            parts["options"] = {key: [str(part), _named_files(part, sources)] for key, part in value.items()}
        elif field.name not in _APART:
            parts[field.name] = value
    return parts


def _beside(request: Request, sources: SourceFiles) -> list[str]:
    """Configs next to the weights, which adapters read."""
    files = [Path(request.source), *([request.weights] if request.weights else [])]
    configs = [path.with_suffix(".json") for path in files if path.name and not path.is_dir()]
    return [sources.content(path) for path in configs if path.is_file()]


def _named_files(value: Any, sources: SourceFiles) -> list[str]:
    """The content of files and folders that an option names (labels, a configuration), at any depth."""
    if isinstance(value, Mapping):
        return [content for part in value.values() for content in _named_files(part, sources)]
    if isinstance(value, (list, tuple)):
        return [content for part in value for content in _named_files(part, sources)]
    text = str(value)
    if text[:1] in ("{", "["):
        with contextlib.suppress(ValueError, RecursionError):
            return _named_files(json.loads(text), sources)
    named = len(text) < 1024 and "\0" not in text and text not in ("", ".", "..") and Path(text).exists()
    return [sources.content(Path(text))] if named else []


def _distributions(request: Request, session: Session) -> dict[str, list[str]]:
    """The distributions of plugins, backends and the precision, with what they require, and those of all decoders and tasks, since
    the model's are not known yet; each with version and the state of its files."""
    brought = [BACKENDS.distribution(one.backend.name) for one in chosen_backends(request)]
    sources = [*session.sources.values(), *brought, PRECISIONS.distribution(request.precision)]
    deciding = {candidate.distribution for candidate in find_candidates("adaptrt.decoders", "adaptrt.tasks")}
    names = {"adaptrt", *(source.rpartition(" ")[0] for source in sources)} - {""}
    found: dict[str, list[str]] = {}
    for name in sorted(names | deciding):
        try:
            distribution = installed_distribution(name)
        except metadata.PackageNotFoundError:
            continue
        # an adapter of another framework may have decoders; the framework itself takes no part
        required = _requirements(distribution) if name in names else []
        found[name] = [distribution.version, *required, *_sources(distribution)]
    return found


def _requirements(distribution: metadata.Distribution) -> list[str]:
    versions = []
    for text in distribution.requires or ():
        try:
            name = Requirement(text).name
            required = installed_distribution(name)
        except (InvalidRequirement, metadata.PackageNotFoundError):
            continue
        if _editable(required) is not None and not name.startswith("adaptrt"):
            raise UsageError(f"{name} is installed editable: its code and configurations may change")
        versions.append(f"{name} {required.version} {_code_state(required)}")
    return sorted(set(versions))


def _code_state(distribution: metadata.Distribution) -> str:
    """Paths, sizes and times of a distribution's Python files, as a hash: many edit an installed framework in place."""
    names = [line.partition(",")[0] for line in (distribution.read_text("RECORD") or "").splitlines() if ".py," in line]
    digest = hashlib.sha256()
    for name in sorted(names):
        with contextlib.suppress(OSError):  # removed since
            found = Path(str(distribution.locate_file(name))).stat()
            digest.update(f"{name} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _sources(distribution: metadata.Distribution) -> list[str]:
    """The state of a distribution's files: those that its version says nothing about, if it is installed from a clone.

    Installed editable: path, size and time of each source file; else the hash of each file as it was installed, and the state of its
    code, since it may be edited in place.
    """
    folder = _editable(distribution)
    if folder is None:
        lines = (distribution.read_text("RECORD") or "").splitlines()
        # scripts name the environment, and dist-info the installer
        installed = sorted(
            line
            for line in lines
            if "sha256=" in line and not line.startswith(("..", "/")) and ".dist-info/" not in line
        )
        return [*installed, _code_state(distribution)]
    modules = [path for pattern in ("*.py", "src/*.py") for path in folder.glob(pattern)]
    packaged = [path for top in _packages(folder) for path in top.rglob("*.py")]
    return [
        f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in sorted({*modules, *packaged})
    ]


def _editable(distribution: metadata.Distribution) -> Path | None:
    """The source folder of an editable distribution."""
    text = distribution.read_text("direct_url.json")
    location = json.loads(text) if text else {}
    return Path(unquote(urlparse(location["url"]).path)) if location.get("dir_info", {}).get("editable") else None


def _packages(folder: Path) -> list[Path]:
    """The package folders of an editable distribution: those with an ``__init__.py``, one or two levels down."""
    return sorted({path.parent for pattern in ("*/__init__.py", "*/*/__init__.py") for path in folder.glob(pattern)})


def _machine(request: Request) -> dict[str, dict[str, str]]:
    """The machine properties that the files of each backend depend on."""
    found, graph = {}, target_of(request)
    for one in chosen_backends(request):
        if not one.builds:
            continue
        if not isinstance(one.backend, NamesMachine):
            raise UsageError(f"{one.backend.title} does not declare which machine properties its files depend on")
        found[one.backend.name] = dict(one.backend.machine(target_for(one.backend, graph), request.build))
    return found


def stored_conversion(store: Store, entry: Entry, workdir: Path) -> tuple[Report, dict[str, Path]] | None:
    """A stored report and its files by suffix, copied into ``workdir``; an inconsistent entry is removed."""
    files = {suffix: workdir / f"cached{suffix}" for suffix in entry.files}
    if entry.kind == KIND and all(store.copy(entry, suffix, path) for suffix, path in files.items()):
        report = _sound_report(entry, files)
        if report is not None:
            del files[_REPORT]
            return report, files
    store.forget(entry.key)
    return None


def _sound_report(entry: Entry, files: Mapping[str, Path]) -> Report | None:
    """The report, if the conversion passed and the report's hash of every file matches."""
    if _REPORT not in files:
        return None
    try:
        report = Report.from_json(files[_REPORT].read_bytes())
    except AdaptrtError:
        return None
    listed = sorted((record.sha256, record.bytes) for record in report.files.values())
    kept = sorted(
        (entry.files[suffix], path.stat().st_size) for suffix, path in files.items() if suffix not in (_REPORT, _HTML)
    )
    in_place = all(
        any(_is_kind(kind, suffix) and record.sha256 == entry.files[suffix] for kind, record in report.files.items())
        for suffix in files
        if suffix not in (_REPORT, _HTML)
    )
    return report if report.status == "passed" and listed == kept and in_place else None


def _is_kind(kind: str, suffix: str) -> bool:
    """Whether a report lists a file of this suffix under this kind."""
    return kind == kind_of(suffix) or (kind == "reduced" and suffix.endswith(".onnx") and suffix != ".onnx")


def adopt(report: Report, stored: Report, files: Mapping[str, Path], created: float) -> bool:
    """Fill ``report`` from the stored one, with the file names of this conversion (``files``: suffix to destination).

    Returns whether names and command are the same in both.
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
