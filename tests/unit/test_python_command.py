"""A call of the API as text that runs again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import adaptrt
from adaptrt.python_command import python_command


def call(
    source: Any,
    *,
    adapter: str,
    imgsz: Any = None,
    options: Any = None,
    build_options: Any = None,
    observer: Any = None,
) -> str:
    return python_command("convert", locals(), call)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "adaptrt.convert('best.pt', adapter='yolov5')"),
        ({"imgsz": (640, 320)}, "adaptrt.convert('best.pt', adapter='yolov5', imgsz=(640, 320))"),
        (
            {"options": {"conf": 0.4, "labels": Path("x.txt")}},
            "adaptrt.convert('best.pt', adapter='yolov5', options={'conf': 0.4, 'labels': 'x.txt'})",
        ),
        ({"observer": object()}, "adaptrt.convert('best.pt', adapter='yolov5')"),
    ],
)
def test_only_what_was_given_is_said(given: dict[str, Any], said: str) -> None:
    assert call(Path("best.pt"), adapter="yolov5", **given) == said


def test_a_dataclass_that_needs_a_field() -> None:
    request = adaptrt.CalibrationRequest(Path("calib"), method="entropy")
    said = call("x.pt", adapter="a", options=request)
    assert said.endswith("options=adaptrt.CalibrationRequest(source='calib', method='entropy'))")
    assert eval(said.partition("options=")[2].removesuffix(")"), {"adaptrt": adaptrt}) == request


def test_it_is_python_that_gives_the_same_again() -> None:
    options = adaptrt.BuildOptions(workspace=1024)
    text = call("x.pt", adapter="a", build_options=options)
    (found,) = [eval(text.partition("build_options=")[2].removesuffix(")"), {"adaptrt": adaptrt})]
    assert found == options
