"""OpenVINO models out of small graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A small ONNX graph."""
    from small_graphs import write_graph

    return write_graph(tmp_path / "small.onnx")


@pytest.fixture
def request_for(tmp_path: Path) -> Callable[..., Any]:
    """A request for a build: ``request_for(onnx_path, "int8")`` writes ``best.openvino.xml``."""
    from small_graphs import SPEC

    from adaptrt import BuildOptions
    from adaptrt.specs import precision_named
    from adaptrt.specs.backends import BACKENDS, BackendRequest

    folder = tmp_path / "built"
    folder.mkdir()

    def make(onnx_path: Path, precision: str = "fp32", **fields: Any) -> BackendRequest:
        given = {
            "onnx_path": onnx_path,
            "output": folder / "best.openvino.xml",
            "spec": SPEC,
            "precision": precision_named(precision),
            "target": BACKENDS.find("openvino").targets["openvino"],
            "options": BuildOptions(),
        }
        return BackendRequest(**{**given, **fields})

    return make
