"""``adaptrt.__all__``: sorted, complete, documented."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType

import pytest

import adaptrt
from adaptrt import errors

ROOT = Path(__file__).parents[2]
DOCUMENTED = [
    name for name in adaptrt.__all__ if inspect.isclass(value := getattr(adaptrt, name)) or inspect.isfunction(value)
]


def test_all_is_sorted_and_complete() -> None:
    assert adaptrt.__all__ == sorted(adaptrt.__all__, key=lambda name: (not name.isupper(), name))  # as ruff sorts
    public = {
        name
        for name, value in vars(adaptrt).items()
        if not name.startswith("_") and not isinstance(value, ModuleType) and name != "annotations"
    }
    assert public | {"__version__"} == set(adaptrt.__all__)


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
