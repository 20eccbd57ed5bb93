"""Every name of TensorRT's in the backend's source exists in a generation it can meet."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorrt_surfaces import read_surface

import adaptrt

SOURCES = sorted(
    path for path in (Path(adaptrt.__file__).parent / "backends" / "tensorrt").rglob("*.py") if path.is_file()
)


def trt_names(path: Path) -> Iterator[tuple[str, ...]]:
    """Chains like ``trt.BuilderFlag.FP16`` in a module, without the ``trt``."""
    for node in ast.walk(ast.parse(path.read_text())):
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.insert(0, node.attr)
            node = node.value
        if chain and isinstance(node, ast.Name) and node.id in ("trt", "tensorrt_module"):
            yield tuple(chain)


def is_known(surface: dict[str, Any], chain: tuple[str, ...]) -> bool:
    if chain[0].startswith("__"):
        return True
    entry = surface.get(chain[0])
    for name in chain[1:]:
        if entry is None:
            return False
        if entry["kind"] == "enum":
            return name in entry["members"] or name.startswith("__")
        if entry["kind"] != "class":
            return True
        if name == "__init__":
            return True
        entry = entry["members"].get(name)
    return entry is not None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_names_exist(path: Path, surfaces: dict[str, dict[str, Any]]) -> None:
    every = [*surfaces.values(), read_surface("rtx_1.7.1")]
    for chain in set(trt_names(path)):
        assert any(is_known(surface, chain) for surface in every), f"{path.name}: trt.{'.'.join(chain)}"


def test_the_search_finds_names() -> None:
    found = {chain for path in SOURCES for chain in trt_names(path)}
    assert ("BuilderFlag", "TF32") not in found  # through a local name: covered by the builds on stand-ins
    assert ("MemoryPoolType", "WORKSPACE") in found


def test_binding_indices_are_not_used() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert "get_binding_" not in text
        assert "execute_async_v2" not in text
