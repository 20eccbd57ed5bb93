"""The hash of an ONNX file including its external data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.reader import OnnxFile, present_files, read_onnx
from adaptrt.store.source_files import SourceFiles


def onnx_sha256(path: Path, sources: SourceFiles | OnnxFiles | None = None, file: OnnxFile | None = None) -> str:
    """The hash of an ONNX file, including any external weight files.

    ``sources`` records what was hashed; ``file`` is the outline of the file, if already read.
    """
    sources = sources or SourceFiles()
    content = sources.content(path)
    others = present_files(path, file or read_onnx(path))
    if not others:
        return content
    digest = hashlib.sha256(bytes.fromhex(content))
    for other in others:
        digest.update(bytes.fromhex(sources.content(other)))
    return digest.hexdigest()
