"""Calibration data: a folder or list of images through the model's own preprocessing, or arrays that are ready to use."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from adaptrt.errors import UsageError
from adaptrt.pipeline.verification.batching import fill_batch, smallest_batch
from adaptrt.quantities import counted
from adaptrt.request import silent
from adaptrt.specs import ModelSpec
from adaptrt.specs.calibration import CalibrationData, CalibrationRequest, Inputs
from adaptrt.spread import spread
from adaptrt.store.hashing import file_sha256

Preprocess = Callable[[Any, ModelSpec], tuple[Mapping[str, Any], Any]]

PROBES = 8  # other images whose ranges are compared with the calibrated ones
_HELD_BACK = 5  # one image in so many is kept for verification, where all would be used
_FEWEST_TO_HOLD_BACK = 10


@dataclass(frozen=True)
class CalibrationImages:
    """Image files to calibrate on, and others of the same set to verify on; empty for an ``.npz`` file."""

    used: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()

    @cached_property
    def hashes(self) -> list[str]:
        """Of the content of those to calibrate on."""
        return [file_sha256(path) for path in self.used]


def choose_images(
    request: CalibrationRequest, *, hold_back: bool, warn: Callable[[str], None] = silent
) -> CalibrationImages:
    """The images of ``--calib``, at most as many as requested, spread evenly over the set.

    With ``hold_back``, every fifth one is kept for verification if no other would be left. ``warn`` receives what is skipped.
    """
    if request.source.suffix.lower() == ".npz":
        return CalibrationImages()
    files = _found(request.source)
    _warn_of_skipped(request.source, warn)
    kept: list[Path] = []
    if hold_back and len(files) <= request.images and len(files) >= _FEWEST_TO_HOLD_BACK:
        kept = files[_HELD_BACK - 1 :: _HELD_BACK]
    rest = [path for path in files if path not in set(kept)]
    used = spread(rest, request.images)
    chosen = {*used}
    return CalibrationImages(tuple(used), tuple(kept or [path for path in rest if path not in chosen]))


def _warn_of_skipped(source: Path, warn: Callable[[str], None]) -> None:
    from adaptrt.sources.find import warn_of_skipped

    warn_of_skipped([str(source)], warn, videos=False, below=True)


def _found(source: Path) -> list[Path]:
    """The images of a folder and the folders inside it, by path; or of a list, pattern or file, as for ``adaptrt predict``."""
    from adaptrt.sources.find import image_files
    from adaptrt.vision.images import SUFFIXES, images_below

    if source.is_dir():
        files = images_below(source)
        if not files:
            raise UsageError(f"{source} contains no images.", hint=f"Looked for {', '.join(sorted(SUFFIXES))}.")
        return files
    if source.suffix.lower() != ".txt" and not glob.has_magic(str(source)):
        raise UsageError(
            f"{source} is not a folder, a pattern, a .txt file or an .npz file.",
            hint="Specify a folder of images: --calib images/",
        )
    files = image_files([str(source)])
    for file in files:
        if not file.is_file():
            raise UsageError(f"{source} lists {file.name}, which does not exist.", hint=f"Looked for {file}.")
    return files


def calibration_data(
    request: CalibrationRequest,
    spec: ModelSpec,
    preprocess: Preprocess,
    images: CalibrationImages,
    probes: Sequence[Path] = (),
    *,
    hold_back: bool = False,
) -> CalibrationData:
    """Batches of the images, or of the rows of an ``.npz`` file, in the model's input format.

    ``probes`` are other images; with ``hold_back``, every fifth row takes their place.
    """
    largest = spec.inputs[0].dims[0].max if spec.inputs and spec.inputs[0].dims else 1
    if request.batch > largest:
        raise UsageError(
            f"--calib-batch {request.batch} exceeds the model's largest batch of {largest}.",
            hint=f"Use --calib-batch {largest} or less.",
        )
    smallest = smallest_batch(spec)
    size = max(request.batch, smallest)
    if not images.used:
        return _from_arrays(request, spec, size, smallest, hold_back=hold_back)
    if spec.image is None:
        raise UsageError(
            "The model has no image input, so it cannot be calibrated on images.",
            hint="Pass its inputs as arrays, by name, with one row per sample: --calib inputs.npz",
        )

    def inputs_of(paths: Sequence[Path]) -> Inputs:
        from adaptrt.vision.images import read_image

        rows = [preprocess(read_image(path, spec.image_channels), spec)[0] for path in paths]
        return fill_batch(rows, smallest)

    used, others = images.used, spread(probes, PROBES)
    return CalibrationData(
        count=len(used),
        batches=-(-len(used) // size),
        read=lambda index: inputs_of(used[index * size : (index + 1) * size]),
        digest=_digest(images.hashes, spec, size),
        title=f"{counted(len(used), 'image')} of {request.source}",
        probes=len(others),
        probe=lambda index: inputs_of([others[index]]),
    )


def _digest(hashes: Sequence[str], spec: ModelSpec, size: int) -> str:
    """The images in their order, and everything in the spec that decides what becomes of them."""
    import msgspec

    parts = [hashes, msgspec.to_builtins(spec.image), [msgspec.to_builtins(one) for one in spec.inputs], size]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _from_arrays(
    request: CalibrationRequest, spec: ModelSpec, size: int, smallest: int, *, hold_back: bool
) -> CalibrationData:
    from adaptrt.pipeline.calibration_arrays import inputs_of, open_rows

    arrays = inputs_of(request.source, spec)
    total = next(iter(arrays.values())).shape[0]
    holds_back = hold_back and total >= _FEWEST_TO_HOLD_BACK
    kept = range(total)[_HELD_BACK - 1 :: _HELD_BACK] if holds_back else range(0)
    rest = spread(range(total - len(kept)), request.images)
    chosen = [index + index // (_HELD_BACK - 1) if holds_back else index for index in rest]  # without every fifth
    probes = spread(kept, PROBES)
    count = len(chosen)
    read = {name: open_rows(array, [*chosen, *probes]) for name, array in arrays.items()}

    def batch_of(part: Sequence[int]) -> Inputs:
        return fill_batch([{name: row_of(row) for name, row_of in read.items()} for row in part], smallest)

    return CalibrationData(
        count=count,
        batches=-(-count // size),
        read=lambda index: batch_of(chosen[index * size : (index + 1) * size]),
        digest=_digest([file_sha256(request.source), *map(str, chosen)], spec, size),
        title=f"{counted(count, 'row')} of {request.source}",
        probes=len(probes),
        probe=lambda index: batch_of([probes[index]]),
    )
