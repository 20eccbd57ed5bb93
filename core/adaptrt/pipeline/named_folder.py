"""An output such as ``found.onnx/``: a slash at the end names a folder, which its name alone would not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ENDS = tuple(filter(None, ("/", os.sep, os.altsep)))


@contextmanager
def named_folder(output: object) -> Iterator[None]:
    """Create the folder, so that it is not taken for a file; if it is still empty at the end, it is removed."""
    if not isinstance(output, str) or not output.endswith(_ENDS) or not Path(output).suffix or Path(output).is_dir():
        yield
        return
    from adaptrt.pipeline.output import output_error, require_folder

    folder = Path(output)
    require_folder(folder)
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise output_error(error, folder) from error
    try:
        yield
    finally:
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()
