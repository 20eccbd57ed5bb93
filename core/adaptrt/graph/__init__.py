"""The exported graph: reading, checking, rewriting, counting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adaptrt.specs import ModelSpec


def float32_nodes(path: Path, spec: ModelSpec | None, keep_fp32: Sequence[str] = ()) -> list[str]:
    """Names of the nodes that stay float32 in every precision: box decoding, coordinates, and nodes selected with ``--keep-fp32``.

    For extensions that implement ``reduce_precision``. Raises a ``UsageError`` if a pattern matches nothing.
    """
    from adaptrt.onnxfile.node_rules import kept_float32
    from adaptrt.onnxfile.reader import read_onnx

    return kept_float32(read_onnx(path), spec, keep_fp32)
