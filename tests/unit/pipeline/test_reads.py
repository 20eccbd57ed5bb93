"""Each ONNX file of a job is outlined once and hashed once, however many stages ask."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_graphs import write_graph

import adaptrt
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.specs.backends import BACKENDS, target_named

READERS = {"reader.py": "outlined", "hashing.py": "hashed", "source_files.py": "hashed"}
_counts: Counter[tuple[str, str]] | None = None


def _count(event: str, args: tuple[Any, ...]) -> None:
    if _counts is None or event != "open" or not str(args[0]).endswith(".onnx"):
        return
    frame = sys._getframe(1)
    while frame is not None and "adaptrt" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    reader = READERS.get(Path(frame.f_code.co_filename).name) if frame is not None else None
    if reader is not None:
        _counts[reader, Path(str(args[0])).name] += 1


sys.addaudithook(_count)  # a hook cannot be removed: it counts only while there is a counter


@pytest.fixture
def counts() -> Iterator[Counter[tuple[str, str]]]:
    global _counts
    _counts = Counter()
    yield _counts
    _counts = None


def test_a_conversion(tiny: str, counts: Counter[tuple[str, str]]) -> None:
    reason = BACKENDS.find("rtx").unavailable(target_named("rtx"))
    if reason is not None:
        pytest.skip(reason)
    adaptrt.convert("detector", adapter="tiny", to="onnx,rtx", precision="fp16", verify="quick", html=False)
    assert counts == {
        ("outlined", "model.onnx"): 1,
        ("hashed", "model.onnx"): 1,
        ("outlined", "model.fp16.onnx"): 1,
        ("hashed", "model.fp16.onnx"): 1,
    }


def test_a_build(tiny: str, counts: Counter[tuple[str, str]]) -> None:
    write_graph(Path("small.onnx"))
    adaptrt.build("small.onnx", to="onnx", precision="fp16", target="10", verify="quick", html=False)
    assert counts == {
        ("outlined", "small.onnx"): 1,
        ("outlined", "model.fp16.onnx"): 1,
        ("hashed", "model.fp16.onnx"): 1,
    }


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    files, path = OnnxFiles(), write_graph(tmp_path / "a.onnx")
    outline, content = files.outline(path), files.content(path)
    assert files.outline(path) is outline
    assert content == hashlib.sha256(path.read_bytes()).hexdigest()
    write_graph(path, quantized=True)
    assert len(files.outline(path).nodes) > len(outline.nodes)
    assert files.content(path) != content
