"""Runs a file and returns any of its tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.errors import OutputError, UsageError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.layers.request import InputRequest
from adaptrt.pipeline.layers.samples import input_samples, renamed, spec_for
from adaptrt.pipeline.layers.subjects import open_file
from adaptrt.pipeline.output import output_error, require_folder, require_no_input
from adaptrt.specs.backends import OpenOptions
from adaptrt.store.model_files import require_backend, require_model_file
from adaptrt.store.workspace import written_aside

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES = (".png", ".jpg", ".jpeg")
TILES, GAP = 64, 2  # channels of a feature map that are drawn, and the pixels between them
_SMALL_SIDE = 32  # a channel is enlarged to about this many pixels


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """``outputs``: names of tensors, nodes or modules; empty: the outputs of the file."""

    file: Path
    outputs: tuple[str, ...] = ()
    inputs: InputRequest = field(default_factory=InputRequest)
    onnx: Path | None = None
    precision: str | None = None
    options: OpenOptions = field(default_factory=OpenOptions)


@dataclass(frozen=True)
class Tensors:
    """``arrays`` by the name of the tensor, rows of all samples joined; ``notes`` on how they were made."""

    arrays: Mapping[str, NDArray[Any]]
    inputs: str
    notes: Sequence[str] = ()


def run(request: RunRequest) -> Tensors:
    """The tensors for the requested inputs."""
    require_model_file(request.file)
    backend = require_backend(request.file)
    with tempfile.TemporaryDirectory(prefix="adaptrt-run-") as folder:
        files = OnnxFiles()
        subject = open_file(
            request.file, backend, request.options, Path(folder), files, request.onnx, request.precision
        )
        with closing(subject):
            samples, described = input_samples(request.inputs, spec_for(subject.outline, request.inputs))
            subject.samples = renamed(samples, subject.inputs)
            names = list(subject.outputs)
            if request.outputs:
                from adaptrt.graph.tensors import require_tensors

                names = require_tensors(request.outputs, subject.tensors, str(request.file))
            own = [name for name in names if name in subject.outputs]
            inside = [name for name in names if name not in own]
            found: list[dict[str, NDArray[Any]]] = []
            for sample in range(len(samples)):
                one: dict[str, NDArray[Any]] = {}
                for part in (own, inside):
                    one.update(subject.run(part, sample) if part else {})
                found.append(one)
            notes = list(subject.notes)
    return Tensors({name: _joined([one[name] for one in found]) for name in names}, described, notes)


def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if len(arrays) == 1:
        return arrays[0]
    if all(array.ndim and array.shape[1:] == arrays[0].shape[1:] for array in arrays):
        return np.concatenate(arrays)
    return np.stack(arrays)


def save(found: Tensors, output: Path, inputs: Collection[Path] = ()) -> list[Path]:
    """Write an ``.npz`` file; or draw each tensor into a folder, or a single one into an image file. No input is replaced."""
    suffix = "" if output.is_dir() else output.suffix.lower()
    require_folder(output.parent)
    try:
        if suffix == ".npz":
            with written_aside(output, parents=True) as aside, aside.open("wb") as file:
                np.savez(file, **found.arrays)  # type: ignore[arg-type]
            return [output]
        if suffix in IMAGES:
            if len(found.arrays) > 1:
                raise UsageError(
                    f"-o {output} is one image, but there are {len(found.arrays)} tensors.",
                    hint="Specify a folder, or an .npz file.",
                )
            return [_draw(output, next(iter(found.arrays.values())))]
        if suffix:
            raise OutputError(
                f"-o {output}: a file {suffix} cannot be written.",
                hint="Use .npz for arrays, .png for one tensor, or a folder.",
            )
    except OSError as error:
        raise output_error(error, output.parent) from error
    places = {output / f"{name}.png": found.arrays[tensor] for tensor, name in _file_names(found.arrays).items()}
    for path in places:
        require_no_input(path, inputs)
    return [_draw(path, array) for path, array in places.items()]


def _file_names(names: Mapping[str, Any]) -> dict[str, str]:
    """A file name for each tensor, numbered where two would be the same."""
    taken: dict[str, str] = {}
    for name in names:
        plain = "".join(char if char.isalnum() or char in "._-" else "_" for char in name).strip("._") or "tensor"
        free, count = plain, 2
        while free.lower() in {one.lower() for one in taken.values()}:
            free, count = f"{plain}-{count}", count + 1
        taken[name] = free
    return taken


def _draw(path: Path, array: NDArray[Any]) -> Path:
    from adaptrt.vision.images import write_image

    return write_image(path, drawn(array), parents=True)


def drawn(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The first sample as an image: up to 64 channels of a feature map as tiles, dark where the value is small.

    Each channel has its own range. A tensor with fewer axes is drawn as one matrix.
    """
    values = np.nan_to_num(np.asarray(array, np.float32), posinf=0.0, neginf=0.0)
    values = values[0] if values.ndim > 1 else values
    while values.ndim > 3:
        values = values.reshape(-1, *values.shape[2:])
    maps = values.reshape(1, *np.atleast_2d(values).shape) if values.ndim < 3 else values[:TILES]
    low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
    tiles = ((maps - low) / np.maximum(high - low, 1e-12) * 255).astype(np.uint8)
    zoom = max(1, _SMALL_SIDE // max(tiles.shape[1:]))
    tiles = tiles.repeat(zoom, 1).repeat(zoom, 2)
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = -(-len(tiles) // columns)
    height, width = tiles.shape[1] + GAP, tiles.shape[2] + GAP
    canvas = np.full((rows * height - GAP, columns * width - GAP), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = index // columns * height, index % columns * width
        canvas[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return np.repeat(canvas[..., None], 3, axis=2)
