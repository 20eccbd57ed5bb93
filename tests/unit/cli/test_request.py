"""Flags become a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installed import require_distributions

from adaptrt import Request, ShapeError, ShapeRequest, UsageError
from adaptrt.cli.convert import convert
from adaptrt.cli.request import request_from_flags
from adaptrt.specs import Dim


def request(*words: str) -> Request:
    context = convert.make_context("convert", ["best.pt", "--adapter", "yolo", *words])
    return request_from_flags(context.params, command="the command")


def test_the_defaults_are_those_of_the_api() -> None:
    assert request() == Request("best.pt", "yolo", command="the command")


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--weights", "w.pth"), "weights", Path("w.pth")),
        (("--checkpoint", "w.pth"), "weights", Path("w.pth")),
        (("-o", "out/x.onnx"), "output", Path("out/x.onnx")),
        (("--input-names", "a, b"), "input_names", ("a", "b")),
        (("--output-names", "boxes"), "output_names", ("boxes",)),
        (("--opset", "17"), "opset", 17),
        (("--exporter", "dynamo"), "exporter", "dynamo"),
        (("--no-simplify",), "simplify", False),
        (("--verify", "quick"), "verify", "quick"),
        (("--target", "8"), "target", "8"),
        (("--precision", "int8"), "precision", "int8"),
        (("--half",), "precision", "fp16"),
        (("--fp16", "--precision", "fp16"), "precision", "fp16"),
        (("--bf16",), "precision", "bf16"),
        (("--int8",), "precision", "int8"),
        (("--image", "a.jpg"), "image", Path("a.jpg")),
        (("--test-image", "b.jpg"), "test_image", Path("b.jpg")),
        (("-s", "conf=0.4", "--set", "a=b=c"), "options", {"conf": "0.4", "a": "b=c"}),
        (("--trust-checkpoint",), "trust_checkpoint", True),
        (("--ort-custom-ops", "a.so", "--ort-custom-ops", "b.so"), "ort_custom_ops", (Path("a.so"), Path("b.so"))),
        (("--plugins", "p.toml"), "plugins_file", Path("p.toml")),
    ],
)
def test_a_flag_fills_its_field(words: tuple[str, ...], name: str, value: Any) -> None:
    assert getattr(request(*words), name) == value


@pytest.mark.parametrize(
    ("words", "shapes"),
    [
        (("--imgsz", "800x1216"), ShapeRequest(imgsz=(800, 1216))),
        (("--img-size", "320"), ShapeRequest(imgsz=(320, 320))),
        (("--batch", "1:8:16"), ShapeRequest(batch=Dim(1, 8, 16, "batch"))),
        (("--batch-size", "4"), ShapeRequest(batch=Dim(4, 4, 4, "batch"))),
        (("--dynamic", "batch,hw"), ShapeRequest(dynamic=frozenset({"batch", "hw"}))),
        (
            ("--shape", "images=1..4x3x64x64", "--shape", "images=8x3x32x32"),
            ShapeRequest(
                shapes={
                    "images": (
                        (Dim(1, 4, 4), Dim.fixed(3), Dim.fixed(64), Dim.fixed(64)),
                        (Dim.fixed(8), Dim.fixed(3), Dim.fixed(32), Dim.fixed(32)),
                    )
                }
            ),
        ),
        (
            ("--min-shape", "a:1x4", "--opt-shape", "a:2x4", "--max-shape", "a:8x4"),
            ShapeRequest(shapes={"a": ((Dim(1, 2, 8), Dim.fixed(4)),)}),
        ),
    ],
)
def test_shapes(words: tuple[str, ...], shapes: ShapeRequest) -> None:
    assert request(*words).shapes == shapes


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--fp16", "--int8"), UsageError, "fp16, int8"),
        (("--precision", "fp32", "--half"), UsageError, "fp32, fp16"),
        (("--input-names", "a,,b"), UsageError, "--input-names"),
        (("--output-names", "a,a"), UsageError, "--output-names"),
        (("--shape", "a=1x4", "--max-shape", "a:8x4"), ShapeError, "'a' has a --shape as well as a --min-shape"),
        (("--batch", "0"), ShapeError, "0"),
        (("--batch", "8:4:16"), ShapeError, "8:4:16"),
        (("--imgsz", "big"), ShapeError, "big"),
        (("--dynamic", "width"), ShapeError, "width"),
        (("--set", "conf"), UsageError, "key=value"),
        (("--opset", "9"), UsageError, "9"),
    ],
)
def test_what_cannot_be_is_refused(words: tuple[str, ...], error: type[UsageError], message: str) -> None:
    with pytest.raises(error) as caught:
        request(*words)
    assert message in caught.value.message
    assert caught.value.hint


def test_an_unknown_source_lists_the_installed_adapters(adaptrt: Any, fake_distribution: Any) -> None:
    fake_distribution("adaptrt-zebra", {"adaptrt.adapters": {"zebra": "zebra"}})
    result = adaptrt("convert", "nothing_like_it")
    assert result.code == 2
    assert "no installed adapter recognizes nothing_like_it" in result.err
    assert "zebra" in result.err


def test_a_recognized_adapter_is_shown(adaptrt: Any, tmp_path: Path) -> None:
    require_distributions("adaptrt-torch", reason="its recognizer answers")
    (tmp_path / "net.py").write_text("class Net: ...")
    result = adaptrt("convert", f"{tmp_path / 'net.py'}:Net", "--dry-run")
    assert result.code == 0
    assert "Adapter torch: an object in Python code" in result.err
    assert adaptrt("convert", f"{tmp_path / 'net.py'}:Net", "--dry-run", "-q").err == ""
