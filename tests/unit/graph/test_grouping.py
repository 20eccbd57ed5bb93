"""How a graph is divided by module, and how its parts become blocks."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from adaptrt.graph.grouping import collapse, grouped

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


def test_nodes_of_a_module_become_one_block() -> None:
    blocks, edges = collapse("aabbc", [[], [0], [1], [2], [1, 3]])
    assert [(block.title, block.nodes) for block in blocks] == [("a", [0, 1]), ("b", [2, 3]), ("c", [4])]
    assert edges == [(0, 1), (0, 2), (1, 2)]


def test_a_module_that_is_left_and_entered_again_becomes_two_blocks() -> None:
    blocks, edges = collapse("aba", [[], [0], [1]])
    assert [block.nodes for block in blocks] == [[0], [1], [2]]
    assert edges == [(0, 1), (1, 2)]


def test_parallel_branches_that_would_make_a_cycle_are_apart() -> None:
    """``a`` reads ``b`` in one branch and is read by it in the other; no path leads through both."""
    blocks, _ = collapse("abba", [[], [], [0], [1]])
    assert [block.nodes for block in blocks] == [[0], [1, 2], [3]]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 30), max_size=3)), max_size=25))
def test_blocks_hold_every_node_once_and_have_no_cycle(drawn: Sequence[tuple[str, Sequence[int]]]) -> None:
    reads = [[one % node for one in sources] if node else [] for node, (_, sources) in enumerate(drawn)]
    blocks, edges = collapse([title for title, _ in drawn], reads)
    assert sorted(node for block in blocks for node in block.nodes) == list(range(len(drawn)))
    remaining = set(range(len(blocks)))
    while remaining:
        free = {one for one in remaining if not any(b == one and a in remaining for a, b in edges)}
        assert free, "a cycle"
        remaining -= free
