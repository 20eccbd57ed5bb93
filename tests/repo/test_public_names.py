"""``adaptrt.__all__``: complete and documented."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import adaptrt
from adaptrt import errors

ROOT = Path(__file__).parents[2]
DOCUMENTED = [
    name for name in adaptrt.__all__ if inspect.isclass(value := getattr(adaptrt, name)) or inspect.isfunction(value)
]


def test_every_name_of_the_stub_can_be_imported() -> None:
    """``import adaptrt`` loads them late, so that a wrong one would be found only when it is used."""
    (stated,) = [
        node.value
        for node in ast.parse((Path(adaptrt.__file__).with_suffix(".pyi")).read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
    ]
    assert set(ast.literal_eval(stated)) == set(adaptrt.__all__)
    assert all(hasattr(adaptrt, name) for name in adaptrt.__all__)


def test_every_error_is_public() -> None:
    kinds = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert kinds <= set(adaptrt.__all__)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(adaptrt, name)
    page = "errors.md" if inspect.isclass(value) and issubclass(value, errors.AdaptrtError) else "api.md"
    text = (ROOT / "docs" / "reference" / page).read_text(encoding="utf-8")
    assert f"`{name}`" in text if page == "errors.md" else f"## {name}\n" in text
    if page == "api.md":
        own = inspect.cleandoc(value.__doc__ or "")
        assert own
        assert not own.startswith(f"{name}("), "dataclasses make one up where there is none"
