"""The calls of the Python API: what they make of their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import adaptrt


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that would run."""
    requests: list[Any] = []
    for name in ("run_request", "run_build"):
        monkeypatch.setattr(f"adaptrt.api.{name}", lambda request, **_: requests.append(request))
    return requests


def test_one_word_is_no_list_of_letters(asked: list[Any]) -> None:
    adaptrt.convert(
        "best.pt",
        adapter="a",
        shape="x=1x3",
        input_names="x",
        output_names="y",
        keep_fp32="head",
        ort_custom_ops="lib.so",
    )
    adaptrt.build("best.onnx", keep_fp32="head", ort_custom_ops=Path("lib.so"))
    assert [request.keep_fp32 for request in asked] == [("head",)] * 2
    assert [request.ort_custom_ops for request in asked] == [(Path("lib.so"),)] * 2
    assert (asked[0].input_names, asked[0].output_names) == (("x",), ("y",))


def test_lists_are_taken_as_they_are(asked: list[Any]) -> None:
    adaptrt.convert(
        "best.pt",
        adapter="a",
        input_names=["x", "y"],
        keep_fp32=["head", "neck"],
        ort_custom_ops=["a.so", Path("b.so")],
        batch=(1, 4),
        imgsz=(64, 96),
        dynamic=["batch"],
    )
    (request,) = asked
    assert request.input_names == ("x", "y")
    assert request.keep_fp32 == ("head", "neck")
    assert request.ort_custom_ops == (Path("a.so"), Path("b.so"))
    assert request.shapes.imgsz == (64, 96)
    assert (request.shapes.batch.min, request.shapes.batch.max) == (1, 4)
    assert request.shapes.dynamic == {"batch"}
