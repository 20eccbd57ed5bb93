"""How a graph is divided, and patterns that find the parts again."""

from __future__ import annotations

import re

import pytest

from adaptrt.quantization.blocks import grouped, pattern_of

PATHS = ["/net/a/conv1/Conv", "/net/a/conv2/Conv", "/net/b/Conv", "/net/b_1/Conv", "/head/Conv"]


def test_the_largest_group_is_divided_first() -> None:
    assert list(grouped(PATHS, 2)) == ["/net", "/head"]
    assert list(grouped(PATHS, 4)) == ["/net/a", "/net/b", "/net/b_1", "/head"]
    assert sum(map(len, grouped(PATHS, 3).values())) == len(PATHS)
    assert len(grouped(PATHS, 9)) == 5
    assert grouped([], 3) == {}


def test_names_without_a_path_are_divided_into_runs() -> None:
    names = [f"node_{index}" for index in range(7)]
    found = grouped(names, 3)
    assert [len(run) for run in found.values()] == [3, 3, 1]
    assert next(iter(found)) == "node_0 to node_2"


@pytest.mark.parametrize("prefix", ["/net/b", "/net/a", ""])
def test_a_pattern_finds_its_names_and_no_others(prefix: str) -> None:
    names = [name for name in PATHS if name.startswith(f"{prefix}/")] if prefix else PATHS[1:3]
    pattern = pattern_of(names, PATHS, prefix)
    assert [name for name in PATHS if re.search(pattern, name)] == names
    assert pattern.endswith("(/|$)") == bool(prefix)
