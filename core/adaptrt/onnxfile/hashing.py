"""The hash of an ONNX file with its external data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.onnxfile.reader import external_files, read_onnx
from adaptrt.store.source_files import SourceFiles


def onnx_sha256(path: Path, sources: SourceFiles | None = None) -> str:
    """The hash of an ONNX file; where it keeps weights in other files, of all of them together.

    ``sources`` remembers what was hashed.
    """
    sources = sources or SourceFiles()
    content = sources.content(path)
    others = external_files(path, read_onnx(path))
    if not others:
        return content
    digest = hashlib.sha256(bytes.fromhex(content))
    for file in others:
        if not file.is_file():
            raise UsageError(f"{path.name} keeps weights in {file.name}, which is not there.", hint="Copy both files.")
        digest.update(bytes.fromhex(sources.content(file)))
    return digest.hexdigest()
