"""What ``adaptrt package NAME`` writes for other servers and pipelines: the protocol of packagers, and how they are found."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from adaptrt.errors import UsageError
from adaptrt.specs.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.specs.model import ModelSpec


@dataclass(frozen=True, kw_only=True)
class PackageRequest:
    """A converted model to package.

    ``spec`` has the shape of every output. ``files``: the model file, then those that it needs, such as external weights. ``name``
    is safe as a folder's. ``backend`` opens the file in adaptrt; ``built_with`` is the version of TensorRT that an engine needs, if known.
    ``sample``: by input, one real sample of batch 1 (or the fixed batch) at the opt shapes. ``image``: the content of the image
    file that it was made from; ``None`` if the spec has no image input. ``options``: an instance of the packager's ``options``.
    """

    spec: ModelSpec
    files: tuple[Path, ...]
    name: str
    backend: str
    built_with: str = ""
    sample: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    image: bytes | None = None
    options: Any = None

    @property
    def model(self) -> Path:
        return self.files[0]

    def copy_model(self, folder: Path, name: str | None = None) -> None:
        """Copy the model into ``folder`` as ``name``, by default its own, and ``files`` to where it looks for them.

        To be called last: names in ``files`` come from the model, and one that the package already has is a ``UsageError``.
        """
        model = self.model
        taken = set(files_below(folder))
        places = [Path(name or model.name), *(self._place(path, name) for path in self.files[1:])]
        for path, place in zip(self.files, places, strict=True):
            if place in taken:
                raise UsageError(
                    f"{model.name} needs a file named {str(place)!r}, which is also the name of another file of the package.",
                    hint="Rename it, or save the model as a single file.",
                )
            target = folder / place
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            taken.add(place)

    def _place(self, path: Path, name: str | None) -> Path:
        """Where the model, under its new name, looks for one of ``files``. ONNX files store the names of theirs."""
        place = path.relative_to(self.model.parent)
        old = self.model.name.partition(".")[0]
        if name is None or self.model.suffix.lower() == ".onnx" or not place.name.startswith(f"{old}."):
            return place
        return place.with_name(name.partition(".")[0] + place.name[len(old) :])


@dataclass(frozen=True, kw_only=True)
class Package:
    """What was written: ``files``, relative to the folder, and ``notes`` for the user, such as what was not checked."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def files_below(folder: Path) -> tuple[Path, ...]:
    """What was written into a folder, for ``Package.files``."""
    return tuple(sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file()))


@runtime_checkable
class Packager(Protocol):
    """Writes files for another program; found by name under the entry-point group ``adaptrt.packagers``.

    ``options`` is a frozen dataclass, or ``None``. Each of its fields becomes an option of the command: a ``bool`` is a flag,
    ``metadata`` has ``help``, and may have ``metavar`` and ``choices``. A packager that writes nothing of ``request.sample`` may say
    so with ``uses_sample = False``: its command then has no ``--image``. ``backends`` may name those whose files the other program
    runs; files of others are then rejected.
    """

    name: str
    summary: str
    options: type[Any] | None

    def write(self, request: PackageRequest, folder: Path) -> Package:
        """Write into an empty folder. Raises a ``UsageError`` if the model cannot be packaged this way."""
        ...


PACKAGERS: Registry[Packager] = Registry("adaptrt.packagers", "package format", Packager, core_first=True)
