"""An output such as ``found.onnx/``: a slash at the end names a folder, which its name alone would not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_ENDS = tuple(filter(None, ("/", os.sep, os.altsep)))


@contextmanager
def named_folder(output: object) -> Iterator[None]:
    """Create the folder, so that it is not taken for a file; if it is still empty at the end, it is removed."""
    if not isinstance(output, str) or not output.endswith(_ENDS) or not Path(output).suffix or Path(output).is_dir():
        yield
        return
    from adaptrt.pipeline.output import output_error, require_folder
    from adaptrt.store.workspace import folder_while_used

    folder = Path(output)
    require_folder(folder)
    with ExitStack() as stack:
        try:
            stack.enter_context(folder_while_used(folder))
        except OSError as error:
            raise output_error(error, folder) from error
        yield
