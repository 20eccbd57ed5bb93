"""``adaptrt completion``: what a shell is given, and what it then asks for."""

from __future__ import annotations

from typing import Any

import pytest
from click.shell_completion import BashComplete

from adaptrt.cli.main import cli


def completed(words: list[str], text: str) -> list[str]:
    return [item.value or item.type for item in BashComplete(cli, {}, "adaptrt", "_X").get_completions(words, text)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_adaptrt(adaptrt: Any, shell: str) -> None:
    result = adaptrt("completion", shell)
    assert result.code == 0
    assert f"_ADAPTRT_COMPLETE={shell}_complete" in result.out


def test_names_and_files_are_completed(tiny: str) -> None:
    assert "convert" in completed([], "con")
    assert "--precision" in completed(["convert"], "--prec")
    assert completed(["convert", "--adapter"], "tin") == [tiny]
    assert {"fp16", "fp32"} <= set(completed(["convert", "--precision"], "fp"))
    assert "yolo" in completed(["predict", "--decoder"], "yo")
    assert completed(["convert"], "be") == ["be"]
    assert BashComplete(cli, {}, "adaptrt", "_X").get_completions(["convert", "--image"], "b")[0].type == "file"
