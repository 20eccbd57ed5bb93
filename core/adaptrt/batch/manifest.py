"""``job.json``: what a batch job computes, so that it is only ever resumed as the same job."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from adaptrt.batch.parts import any_part
from adaptrt.errors import UsageError
from adaptrt.json_text import formatted_json
from adaptrt.onnxfile.needed_files import files_of
from adaptrt.specs.executors import ExecutorOptions
from adaptrt.specs.image_files import ImageFile
from adaptrt.store.hashing import file_sha256
from adaptrt.store.workspace import written_aside

NAME = "job.json"
FORMAT = "adaptrt batch 1"


@dataclass(frozen=True)
class JobManifest:
    """``model``: hash by file name. ``options``: what changes results. ``sources``: number and hash of the list of images."""

    model: dict[str, str]
    options: dict[str, Any]
    sources: int
    sources_sha256: str
    form: str
    part_size: int
    format: str = FORMAT

    def to_json(self) -> bytes:
        return formatted_json(self)


def manifest_of(
    model: Path, options: Mapping[str, Any], sources: Sequence[ImageFile], *, form: str, part_size: int
) -> JobManifest:
    """Hashes the model file and those that it needs: a manifest, weights beside it, the external data of an ONNX file."""
    digest = hashlib.sha256()
    for path in sources:
        digest.update(os.fsencode(str(path)) + b"\0")
    return JobManifest(
        model={str(path.relative_to(model.parent)): file_sha256(path) for path in files_of(model)},
        options=dict(options),
        sources=len(sources),
        sources_sha256=digest.hexdigest(),
        form=form,
        part_size=part_size,
    )


def options_of(options: ExecutorOptions) -> dict[str, Any]:
    """What changes results: parameters, device, and the hashes of plugin and library files."""
    found: dict[str, Any] = {"params": dict(options.params), "device": options.device}
    if options.adoption:
        found["adoption"] = str(options.adoption)
    plugins = () if options.plugins_file is None else (options.plugins_file,)
    for key, names in (("plugins", plugins), ("custom_ops", options.custom_ops), ("plugin_libs", options.plugin_libs)):
        if names:
            paths = map(Path, names)
            found[key] = {path.name: file_sha256(path)[:16] if path.is_file() else "" for path in paths}
    return found


def open_job(folder: Path, manifest: JobManifest) -> bool:
    """Start a job in a folder, or continue the one in it; whether it is continued.

    Raises a ``UsageError`` that names what differs, if the folder holds another job, or parts without a manifest.
    """
    path = folder / NAME
    if not path.exists():
        if part := any_part(folder):
            raise UsageError(
                f"{folder} contains {part.name}, but no {NAME}: the job that wrote it is unknown.",
                hint="Choose another folder with -o, or remove the parts.",
            )
        with written_aside(path) as aside:
            aside.write_bytes(manifest.to_json())
        return False
    try:
        found = msgspec.json.decode(path.read_bytes(), type=JobManifest)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise UsageError(
            f"{path} is not the manifest of a batch job: {error}.", hint="Choose another folder with -o."
        ) from error
    differences = _differences(found, manifest)
    if differences:
        raise UsageError(
            f"{folder} contains another job: {'; '.join(differences)}.",
            hint="Resume with the same model, options and images, or choose another folder with -o.",
        )
    return True


def _differences(old: JobManifest, new: JobManifest) -> list[str]:
    found = []
    if old.format != new.format:
        found.append(f"its format is {old.format!r}")
    if old.model != new.model:
        changed = [name for name in {**old.model, **new.model} if old.model.get(name) != new.model.get(name)]
        found.append(f"the model differs ({', '.join(changed)})")
    for key in sorted({*old.options, *new.options}):
        before, now = old.options.get(key), new.options.get(key)
        if before != now:
            found.append(f"{key} was {before!r} and is {now!r}")
    if old.sources != new.sources:
        found.append(f"it has {old.sources} images, not {new.sources}")
    elif old.sources_sha256 != new.sources_sha256:
        found.append("the list of images differs")
    for key, title in (("form", "the format"), ("part_size", "the part size")):
        if getattr(old, key) != getattr(new, key):
            found.append(f"{title} was {getattr(old, key)} and is {getattr(new, key)}")
    return found
