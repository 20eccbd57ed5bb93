"""The hash of an ONNX file with its external data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.onnxfile.reader import OnnxFile, external_files, read_onnx
from adaptrt.store.source_files import SourceFiles


def onnx_sha256(path: Path, sources: SourceFiles | None = None, file: OnnxFile | None = None) -> str:
    """The hash of an ONNX file; where it keeps weights in other files, of all of them together.

    ``sources`` remembers what was hashed; ``file`` is its outline, if it was read already.
    """
    sources = sources or SourceFiles()
    content = sources.content(path)
    others = external_files(path, file or read_onnx(path))
    if not others:
        return content
    digest = hashlib.sha256(bytes.fromhex(content))
    for other in others:
        if not other.is_file():
            raise UsageError(f"{path.name} keeps weights in {other.name}, which is not there.", hint="Copy both files.")
        digest.update(bytes.fromhex(sources.content(other)))
    return digest.hexdigest()
