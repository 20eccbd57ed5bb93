"""Wrong input names and contradictions are reported before a network is loaded: ``--dry-run`` loads none."""

from __future__ import annotations

import pytest

from adaptrt.cli.boundary import run
from adaptrt.cli.main import cli


@pytest.mark.parametrize("adapter", ["yolo", "yolov5"])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--shape", "image=1x3x64x64"], "The model has no input 'image'."),
        (["--shape", "images=1x3x64x64", "--imgsz", "96"], "--imgsz"),
    ],
)
def test_shapes_before_loading(
    adapter: str, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(cli, ["convert", "--adapter", adapter, "yolov8n", "--dry-run", *arguments], "adaptrt") == 2
    assert words in capsys.readouterr().err
