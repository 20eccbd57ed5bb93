"""Backends are tested with every trained model."""

from __future__ import annotations

from trained_models import FIXTURES, TRAINED

SUFFIXES = {".pt", ".pth", ".npz", ".safetensors"}


def test_every_trained_file_is_one_of_the_models() -> None:
    trained = {path.relative_to(FIXTURES).as_posix() for path in FIXTURES.rglob("*") if path.suffix in SUFFIXES}
    assert {model.file for model in TRAINED.values()} == trained
