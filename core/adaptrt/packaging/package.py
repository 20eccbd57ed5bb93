"""Prepare a converted model for a packager, and put what it writes in place."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ImageError, ModelError, OutputError, UsageError, in_shell, nearest_file
from adaptrt.onnxfile.needed_files import files_of
from adaptrt.pipeline.output import output_error
from adaptrt.pipeline.processing import Processing, spec_with_params
from adaptrt.specs import ModelSpec
from adaptrt.specs.backend_parts import KeepsManifest, ReadsSpec
from adaptrt.specs.backends import BACKENDS, Backend, runs_onnx
from adaptrt.specs.packagers import Package, Packager, PackageRequest
from adaptrt.store.model_files import require_backend, require_model_file
from adaptrt.store.workspace import created_folder, workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

NOISE_SEED = 3
_LONGEST = 200  # characters of a name: packagers add to it, and file systems allow 255
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_LONGEST - 1}}}")


@dataclass(frozen=True)
class _Builder:
    """The keys of an engine's manifest that tell what it needs."""

    product: str = ""
    tensorrt: str = ""


def package(
    packager: Packager,
    model: Path,
    output: Path,
    *,
    options: Any = None,
    name: str | None = None,
    image: Path | None = None,
    params: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Package:
    """Write a package into the folder ``output``; what is there under other names stays.

    ``params`` change the decoder's defaults, ``image`` is the sample. ``name``: of the model; by default that of the file, in which
    ``_`` replaces what a folder's name cannot have on every system. Without ``overwrite``, existing files are an ``OutputError``.
    Nothing is written if the packager fails.
    """
    _require_taken(packager, model)
    request = prepare(model, options=options, name=name, image=image, params=params or {})
    try:
        with created_folder(output), workspace(output, f"{request.name}.package") as aside:
            folder = aside / "package"
            folder.mkdir()
            written = packager.write(request, folder)
            _move(folder, output, aside / "replaced", overwrite=overwrite)
    except OSError as error:
        raise output_error(error, output) from error
    if name is None and request.name != _stem(model) and any(request.name in path.parts[0] for path in written.files):
        note = f"the model is named {request.name!r}, because of other characters in {_stem(model)!r}: change it with --name"
        written = replace(written, notes=(*written.notes, note))
    return written


def prepare(
    model: Path, *, options: Any, name: str | None, image: Path | None, params: Mapping[str, str]
) -> PackageRequest:
    """Read what a packager needs; the model is not run, so neither a GPU nor its libraries are needed."""
    backend = _backend_of(model)
    spec = spec_with_params(_spec_of(model, backend), params)
    sample, content = _sample(spec, image)
    return PackageRequest(
        spec=spec,
        files=files_of(model),
        name=_checked_name(name) if name is not None else _safe_name(_stem(model)),
        backend=backend.name,
        built_with=_built_with(model, backend),
        sample=sample,
        image=content,
        options=options,
    )


def _backend_of(model: Path) -> Backend:
    require_model_file(model)
    return require_backend(model)


def _require_taken(packager: Packager, model: Path) -> None:
    """Reject the file of a backend that the other program does not have."""
    taken: Sequence[str] | None = getattr(packager, "backends", None)
    backend = _backend_of(model)
    if taken is None or backend.name in taken:
        return
    titles = " or ".join(BACKENDS.find(name).title for name in taken)
    raise UsageError(
        f"Package format {packager.name} does not support {model.name}, a file of {backend.title}.",
        hint=f"Package a file of {titles}.",
    )


def _spec_of(model: Path, backend: Backend) -> ModelSpec:
    spec = backend.read_spec(model) if isinstance(backend, ReadsSpec) else None
    if spec is None:
        raise ModelError(
            f"{model.name} has no adaptrt spec: its pre- and postprocessing are unknown.",
            hint=f"Add one with adaptrt adopt {in_shell(model)} -o new.onnx, or convert the checkpoint with adaptrt convert.",
        )
    if not spec.outputs or any(not output.dims for output in spec.outputs):
        if not runs_onnx(backend):
            raise ModelError(f"The spec of {model.name} has no output shapes.", hint="Build the engine again.")
        spec = replace(spec, outputs=_outputs_in(model, spec))
    return spec


def _outputs_in(model: Path, spec: ModelSpec) -> tuple[Any, ...]:
    """The outputs of the graph, with what the spec says of those that it knows."""
    from adaptrt.onnxfile.reader import read_onnx
    from adaptrt.specs import OutputSpec

    known = {output.name: output for output in spec.outputs}
    return tuple(
        replace(
            known.get(tensor.name, OutputSpec(tensor.name)),
            dims=tuple(f"axis_{index}" if dim is None else dim for index, dim in enumerate(tensor.shape)),
            dtype=tensor.dtype,
        )
        for tensor in read_onnx(model).outputs
    )


def _built_with(model: Path, backend: Backend) -> str:
    """The version of TensorRT in an engine's manifest; empty for other files."""
    import msgspec

    manifest = model.with_name(f"{model.name}.json")
    if not isinstance(backend, KeepsManifest) or not manifest.is_file():
        return ""
    try:
        return msgspec.json.decode(manifest.read_bytes(), type=_Builder).tensorrt
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ModelError(f"{manifest.name} cannot be read: {error}.", hint="Build the engine again.") from error


def _sample(spec: ModelSpec, image: Path | None) -> tuple[dict[str, NDArray[Any]], bytes | None]:
    """One sample of each input, and the image file it was made from; seeded noise without an image."""
    from adaptrt.vision.examples import example_arrays

    if image is not None and spec.image is None:
        raise UsageError("This model has no image input.", hint="Omit --image.")
    shapes = {
        tensor.name: tuple(
            dim.min if spec.is_batch(axis, dim) else dim.opt for axis, dim in enumerate(tensor.profiles[0])
        )
        for tensor in spec.inputs
    }
    if spec.image is None:
        return example_arrays(spec, shapes, NOISE_SEED), None
    import numpy as np

    from adaptrt.vision.images import decode_image, encode_image

    if image is None:
        height, width = spec.image_size
        noise = np.random.default_rng(NOISE_SEED).integers(0, 256, (height, width, spec.image_channels), np.uint8)
        if spec.image_channels != 3:
            return example_arrays(spec, shapes, NOISE_SEED), None
        content = encode_image(noise, ".png")
    else:
        if image.is_dir():
            raise ImageError(f"{image} is a folder.", hint="Specify an image file.")
        if not image.is_file():
            raise ImageError(f"File not found: {image}.", hint=nearest_file(image) or "Check the path to the image.")
        content = image.read_bytes()
    pixels = decode_image(content, spec.image_channels, str(image or "sample"))
    inputs, _ = Processing(spec).preprocess(pixels)
    batch = shapes[spec.image.input][0]
    return {name: np.concatenate([array] * batch) if batch > 1 else array for name, array in inputs.items()}, content


def _stem(model: Path) -> str:
    return model.name.partition(".")[0]


def _checked_name(name: str) -> str:
    """A name that the user has chosen."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be used as a model name.",
            hint="Use at most 200 letters, digits, '_', '-' and '.', and begin with a letter, a digit or '_'.",
        )
    return name


def _safe_name(stem: str) -> str:
    """A name from that of a file."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem).strip("._-")[:_LONGEST]
    if not name:
        raise UsageError(f"{stem!r} cannot be used as a model name.", hint="Specify one with --name.")
    return name


def _move(folder: Path, output: Path, kept: Path, *, overwrite: bool) -> None:
    """All files or, if interrupted, none: those they replace are in ``kept`` until then. Other files in the same folders stay."""
    taken = [entry.name for entry in sorted(folder.iterdir()) if (output / entry.name).exists()]
    if taken and not overwrite:
        raise OutputError(
            f"{output} already contains {', '.join(taken)}.", hint="Add --overwrite, or choose another folder with -o."
        )
    with ExitStack() as undo:
        for number, entry in enumerate(sorted(folder.rglob("*"))):
            target = output / entry.relative_to(folder)
            if entry.is_dir():
                if not target.is_dir():
                    target.mkdir()
                    undo.callback(target.rmdir)
                continue
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
            replaced = kept.with_name(f"{kept.name}.{number}")
            undo.callback(_put_back, replaced, target, entry)
            if target.exists() or target.is_symlink():
                target.replace(replaced)
            entry.replace(target)
        undo.pop_all()


def _put_back(kept: Path, target: Path, entry: Path) -> None:
    """Undo what was done of one file."""
    if not entry.exists():
        target.replace(entry)
    if kept.exists() or kept.is_symlink():
        kept.replace(target)
