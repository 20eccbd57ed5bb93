"""Tests of the patch: the result stays the same, and the graph is worse without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import adaptrt
from adaptrt import Report
from adaptrt_tvseg import adapter


@pytest.mark.parametrize("size", [(8, 12), (64, 96), (9, 13)], ids=["same", "whole factors", "other sizes"])
def test_the_same_result(size: tuple[int, int]) -> None:
    original = torch.nn.functional.interpolate
    features = torch.randn(2, 5, 8, 12)
    for options in ({"mode": "bilinear", "align_corners": False}, {"mode": "nearest"}):
        expected = original(features, size=size, **options)
        patched = adapter.interpolate_by_factor(original, features, size=size, **options)
        torch.testing.assert_close(patched, expected, rtol=0, atol=1e-6)


@pytest.fixture
def convert(tmp_path: Any) -> Callable[..., Report]:
    def run(name: str = "lraspp_mobilenet_v3_large", **options: Any) -> Report:
        options = {"exporter": "torchscript", "imgsz": (32, 48), "batch": (1, 2, 3), "verify": "quick", **options}
        output = tmp_path / "net.onnx"
        return adaptrt.convert(name, adapter="tvseg", output=output, cache=False, html=False, **options)

    return run


def test_the_graph_is_worse_without_it(convert: Callable[..., Report], monkeypatch: pytest.MonkeyPatch) -> None:
    patched = convert()
    assert [patch.target for patch in patched.patches] == ["torch.nn.functional:interpolate"]
    assert patched.operators["final"].get("Shape", 0) == 0
    monkeypatch.setattr(
        adapter, "interpolate_by_factor", lambda original, *args, **keywords: original(*args, **keywords)
    )
    assert convert().operators["final"].get("Shape", 0) > 0


def test_dynamic_sizes_do_without_it(convert: Callable[..., Report]) -> None:
    report = convert(dynamic="batch,hw")
    assert report.patches == []
    assert report.status == "passed"
