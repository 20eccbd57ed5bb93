"""Recipes are read as they were written, and nothing else is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt.errors import UsageError
from adaptrt.specs.recipe import Recipe, read_recipe


def test_a_recipe_is_read_as_it_was_written(tmp_path: Path) -> None:
    recipe = Recipe(
        "int8", ("^/a$",), (r"^/model\.0(/|$)", 'quo"te'), ("Softmax",), {"loss": 0.3, "model": "best.onnx"}
    )
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.text())
    assert read_recipe(path) == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("precision = 8", r"recipe\.toml:1: precision must be text"),
        ("keep-fp16 = []", r"recipe\.toml: the key precision is required"),
        ('precision = "int7"', r"recipe\.toml:1: Unknown precision 'int7'"),
        ('precision = "int8"\nfound = 3', r"recipe\.toml:2: found must be a table"),
        ('precision = "int8"\nkeep-fp17 = []', r"recipe\.toml:2: unknown key 'keep-fp17'"),
        ('precision = "int8"\nkeep-fp16 = "a"', r"recipe\.toml:2: keep-fp16 must be a list"),
        ('precision = "int8"\n\nkeep-fp16 = ["("]', r"recipe\.toml:3: .* not a valid regular expression"),
        ('precision = "int8"\nplugins = "a.py"', "unknown key 'plugins'"),
        ("precision =", "not a valid recipe"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_recipe(path)
    with pytest.raises(UsageError, match="does not exist"):
        read_recipe(tmp_path / "missing.toml")
