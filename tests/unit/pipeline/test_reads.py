"""Each ONNX file of a job is outlined, hashed and loaded once, regardless of how many stages need it."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_graphs import write_graph

import adaptrt
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.pipeline.artifacts import Artifact, open_artifact
from adaptrt.request import Request
from adaptrt.specs.backends import BACKENDS, target_named
from adaptrt.specs.runners import FileRunner

READERS = {"reader.py": "outlined", "hashing.py": "hashed", "source_files.py": "hashed"}
_counts: Counter[tuple[str, str]] | None = None


def _count(event: str, args: tuple[Any, ...]) -> None:
    if _counts is None or event != "open" or not str(args[0]).endswith(".onnx"):
        return
    frame = sys._getframe(1)
    while frame is not None and "adaptrt" not in frame.f_code.co_filename:
        frame = frame.f_back  # type: ignore[assignment]
    if frame is not None and "w" not in str(args[1]):
        reader = READERS.get(Path(frame.f_code.co_filename).name, "loaded")
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
        ("loaded", "exported.onnx"): 1,
        ("outlined", "model.onnx"): 1,
        ("hashed", "model.onnx"): 1,
        ("outlined", "model.fp16.onnx"): 1,
        ("hashed", "model.fp16.onnx"): 1,
    }


def test_a_conversion_with_nms(
    tiny: str, counts: Counter[tuple[str, str]], image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_it(artifact: Artifact, request: Request) -> FileRunner:
        opened.append(artifact.path.name)
        return open_artifact(artifact, request)

    monkeypatch.setattr("adaptrt.pipeline.artifacts.open_artifact", open_it)
    report = adaptrt.convert(
        "detector", adapter="tiny", to="onnx", precision="fp16", target="10", nms="cluster", image=image, verify="quick"
    )
    assert {name: count for (reader, name), count in counts.items() if reader == "loaded"} == {"exported.onnx": 1}
    assert report.link(5).checks
    assert opened == [
        "model.onnx",  # link 2
        "model.fp16.rounded.onnx",  # link 3, emulated in float32
        "model.fp16.onnx",  # link 3, the file itself
        "model.nms.onnx",  # link 2 with NMS
        "model.fp16.nms.onnx",  # link 5
    ]


def test_a_build(tiny: str, counts: Counter[tuple[str, str]]) -> None:
    write_graph(Path("small.onnx"))
    adaptrt.build("small.onnx", to="onnx", precision="fp16", target="10", verify="quick", html=False)
    assert counts == {
        ("loaded", "small.onnx"): 1,
        ("outlined", "small.onnx"): 1,
        ("outlined", "model.fp16.onnx"): 1,
        ("hashed", "model.fp16.onnx"): 1,
    }


def test_a_build_with_a_dynamic_batch(tiny: str, counts: Counter[tuple[str, str]]) -> None:
    model = onnx.load(write_graph(Path("made.onnx"), spec=None))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, "fixed.onnx")
    assert counts is not None
    counts.clear()
    adaptrt.build(
        "fixed.onnx", to="onnx", precision="fp16", target="10", set_dynamic_batch=True, verify="quick", html=False
    )
    loaded = {name: count for (reader, name), count in counts.items() if reader == "loaded"}
    assert loaded == {"fixed.onnx": 1}
    assert max(counts.values()) == 1


def test_a_file_that_was_written_again_is_read_again(tmp_path: Path) -> None:
    files, path = OnnxFiles(), write_graph(tmp_path / "a.onnx")
    outline, content = files.outline(path), files.content(path)
    assert files.outline(path) is outline
    assert content == hashlib.sha256(path.read_bytes()).hexdigest()
    write_graph(path, quantized=True)
    assert len(files.outline(path).nodes) > len(outline.nodes)
    assert files.content(path) != content
