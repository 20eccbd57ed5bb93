"""Positions of the boxes of a drawn graph."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.rendering.layout import layered

BOX = (80.0, 30.0)


def test_a_chain_is_straight() -> None:
    found = layered([BOX] * 4, [(0, 1), (1, 2), (2, 3)])
    assert len({x for x, _ in found.centers}) == 1
    assert [y for _, y in found.centers] == sorted(y for _, y in found.centers)


def test_an_edge_past_a_box_goes_around_it() -> None:
    """0 -> 1 -> 2, and 0 -> 2 past 1."""
    found = layered([BOX] * 3, [(0, 1), (1, 2), (0, 2)])
    x, y = found.centers[1]
    points = [tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+) (-?[\d.]+)", found.curves[2])]
    beside = [px for px, py in points if abs(py - y) <= BOX[1] / 2]
    assert beside
    assert all(abs(px - x) > BOX[0] / 2 for px in beside)


def test_branches_do_not_cross() -> None:
    """Two chains that were given in the opposite order in each layer."""
    found = layered([BOX] * 6, [(0, 3), (1, 2), (2, 5), (3, 4)])
    x = [center[0] for center in found.centers]
    assert (x[0] < x[1]) == (x[3] < x[2]) == (x[4] < x[5])


def test_nothing_to_draw() -> None:
    assert layered([], []).curves == ()


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
def test_boxes_do_not_overlap_and_edges_lead_down(pairs: Sequence[tuple[int, int]]) -> None:
    edges = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    sizes = [(40.0 + 10 * one, 20.0 + one) for one in range(12)]
    found = layered(sizes, edges)
    for source, target in edges:
        assert found.centers[source][1] < found.centers[target][1]
    for one in range(12):
        (x, y), (w, h) = found.centers[one], sizes[one]
        assert x >= w / 2
        assert y >= h / 2
        assert x + w / 2 <= found.width
        assert y + h / 2 <= found.height
        for other in range(one):
            (x2, y2), (w2, h2) = found.centers[other], sizes[other]
            assert abs(x - x2) * 2 + 0.01 >= w + w2 or abs(y - y2) * 2 + 0.01 >= h + h2
