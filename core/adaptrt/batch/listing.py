"""The images of a batch job."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from adaptrt.errors import ImageError

LIST_SUFFIX = ".txt"


def list_images(sources: Iterable[str]) -> list[Path]:
    """Every image that files, folders, patterns and lists (``.txt``, a path per line, relative to the list) name, once.

    Paths in a list need not exist: an image that is missing is a row with an error.
    """
    from adaptrt.vision.images import find_images

    found: dict[Path, None] = {}
    for source in sources:
        paths = _listed(Path(source)) if source.lower().endswith(LIST_SUFFIX) else find_images(source)
        found.update(dict.fromkeys(paths))
    return list(found)


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ImageError(
            f"The list {path} cannot be read: {error}.", hint="Specify a text file with a path per line."
        ) from error
    paths = [path.parent / line.strip() for line in lines if line.strip()]
    if not paths:
        raise ImageError(f"The list {path} contains no images.")
    return paths
