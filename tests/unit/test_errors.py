"""Hints of the errors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from adaptrt import did_you_mean, nearest_file, nearest_name
from adaptrt.errors import UsageError


def test_a_hint_names_the_nearest_or_what_one_can_read() -> None:
    assert did_you_mean("conv", ["conf", "iou"]) == "Did you mean 'conf'?"
    assert did_you_mean("x", ["b", "a"]) == "Available: a, b."
    assert did_you_mean("x", []) == "No names are available."
    many = did_you_mean("x", [f"{number:03}" for number in range(600)])
    assert many.startswith("Available: 000, 001, ")
    assert many.endswith(", 023 and 576 more.")
    long = did_you_mean("x", [f"{number:03}-{'y' * 60}" for number in range(600)])
    assert long.endswith(" and 596 more.")
    assert len(long) < 300
    assert did_you_mean("x", ["z" * 400]) == f"Available: {'z' * 400}."


def test_only_what_is_near_is_offered() -> None:
    assert nearest_name("conv", ["conf", "iou"]) == "Did you mean 'conf'?"
    assert nearest_name("conv", ["iou"]) is None


def test_a_missing_file_is_looked_for_beside(tmp_path: Path) -> None:
    for name in ("robust.PT", "bust.txt", "street.jpg"):
        (tmp_path / name).touch()
    assert nearest_file(tmp_path / "bust.pt") == f"Did you mean '{tmp_path / 'bust.txt'}'?"
    assert nearest_file(tmp_path / "bust.pt", [".pt", ".pth"]) == f"Did you mean '{tmp_path / 'robust.PT'}'?"
    assert nearest_file(tmp_path / "bust.pt", [".onnx"]) is None
    assert nearest_file(tmp_path / "nowhere" / "best.pt") is None
    assert nearest_file(tmp_path / ("x" * 300)) is None
    (tmp_path / "bust.pt").symlink_to("gone.pt")
    assert nearest_file(tmp_path / "bust.pt") == "It is a link to gone.pt, which does not exist."
    os.mkfifo(tmp_path / "pipe.pt")
    assert nearest_file(tmp_path / "pipe.pt") == "It is a pipe or a device: copy its content to a file."


@pytest.mark.parametrize(
    ("message", "said"), [("It fails: no..", "It fails: no."), ("And so on ...", "And so on ..."), ("No.", "No.")]
)
def test_a_message_ends_in_one_period(message: str, said: str) -> None:
    assert UsageError(message).message == said
