"""Patterns that find the parts of a graph again."""

from __future__ import annotations

import re

import pytest

from adaptrt.quantization.blocks import pattern_of

PATHS = ["/net/a/conv1/Conv", "/net/a/conv2/Conv", "/net/b/Conv", "/net/b_1/Conv", "/head/Conv"]


@pytest.mark.parametrize("prefix", ["/net/b", "/net/a", ""])
def test_a_pattern_finds_its_names_and_no_others(prefix: str) -> None:
    names = [name for name in PATHS if name.startswith(f"{prefix}/")] if prefix else PATHS[1:3]
    pattern = pattern_of(names, PATHS, prefix)
    assert [name for name in PATHS if re.search(pattern, name)] == names
    assert pattern.endswith("(/|$)") == bool(prefix)
