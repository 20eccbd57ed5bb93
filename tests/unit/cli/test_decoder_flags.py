"""``--conf``, ``--iou``, ``--max-det`` and ``--classes`` are short forms of ``--set``."""

from __future__ import annotations

from typing import Any

import pytest

from adaptrt.cli.decoder_flags import decoder_params
from adaptrt.errors import UsageError

NONE: dict[str, Any] = {"conf": None, "iou": None, "max_det": None, "classes": None}


def test_the_flags_are_parameters_of_the_decoder() -> None:
    flags = {"conf": 0.4, "iou": 0.5, "max_det": 10, "classes": "person, 2"}
    assert decoder_params(("agnostic=true",), flags) == {
        "agnostic": "true", "conf": "0.4", "iou": "0.5", "max_det": "10", "classes": '["person", 2]',
    }  # fmt: skip
    assert decoder_params((), {**NONE, "conf": 0.0}) == {"conf": "0.0"}


def test_a_contradiction_is_an_error() -> None:
    assert decoder_params(("conf=0.4",), {**NONE, "conf": 0.4}) == {"conf": "0.4"}
    with pytest.raises(UsageError, match=r"--conf 0.4 and --set conf=0.3"):
        decoder_params(("conf=0.3",), {**NONE, "conf": 0.4})


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_the_commands_have_them(adaptrt: Any, command: str) -> None:
    text = adaptrt(command, "--help").out
    for flag in ("--conf", "--iou", "--max-det", "--classes"):
        assert flag in text
