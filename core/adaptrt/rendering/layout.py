"""A layered drawing of a directed graph without cycles: positions of boxes, and curves between them.

For the few dozen boxes of a collapsed graph. Layout libraries either need system binaries (Graphviz), are no longer
maintained, or need a newer Python than adaptrt does, and none of them routes edges around boxes of different widths.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

GAP_ACROSS, GAP_DOWN, MARGIN = 26.0, 34.0, 16.0
_LANE = 8.0  # width of an edge that passes a layer
_SWEEPS = 12

Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """``centers`` of the boxes, ``curves`` as paths of SVG, in the order of the boxes and edges that were given."""

    centers: tuple[Point, ...]
    curves: tuple[str, ...]
    width: float
    height: float


def layered(sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> Layout:
    """Every edge leads downwards. ``sizes``: width and height of each box; ``edges``: pairs of boxes, without cycles."""
    graph = _Lanes(sizes, edges)
    order = _ordered(graph)
    across = _across(graph, order)
    heights = [max(graph.heights[one] for one in layer) for layer in order]
    tops = [MARGIN]
    for height in heights:
        tops.append(tops[-1] + height + GAP_DOWN)
    left = min((across[one] - graph.widths[one] / 2 for layer in order for one in layer), default=0.0) - MARGIN
    centers = [
        (across[one] - left, tops[graph.layers[one]] + heights[graph.layers[one]] / 2)
        for one in range(len(graph.widths))
    ]
    right = max((centers[one][0] + graph.widths[one] / 2 for one in range(len(centers))), default=0.0)
    curves = tuple(_curve(graph, centers, path, heights) for path in graph.paths)
    return Layout(tuple(centers[: len(sizes)]), curves, right + MARGIN, max(tops[-1] - GAP_DOWN, 0) + MARGIN)


class _Lanes:
    """The boxes and, in each layer that an edge passes, a lane: edges that leave the same box share it."""

    def __init__(self, sizes: Sequence[Point], edges: Sequence[tuple[int, int]]) -> None:
        self.widths = [width for width, _ in sizes]
        self.heights = [height for _, height in sizes]
        self.layers = _layers(len(sizes), edges)
        self.paths: list[list[int]] = []
        pairs: dict[tuple[int, int], None] = {}
        lanes: dict[tuple[int, int], int] = {}
        for source, target in edges:
            path = [source]
            for layer in range(self.layers[source] + 1, self.layers[target]):
                if (source, layer) not in lanes:
                    lanes[source, layer] = len(self.widths)
                    self.widths.append(_LANE)
                    self.heights.append(0.0)
                    self.layers.append(layer)
                path.append(lanes[source, layer])
            path.append(target)
            self.paths.append(path)
            pairs.update(dict.fromkeys(itertools.pairwise(path)))
        self.boxes = len(sizes)
        self.above: list[list[int]] = [[] for _ in self.widths]
        self.below: list[list[int]] = [[] for _ in self.widths]
        for first, second in pairs:
            self.below[first].append(second)
            self.above[second].append(first)


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest path to each box; a box that reads nothing is just above the first that reads it."""
    below: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for source, target in edges:
        below[source].append(target)
        waiting[target] += 1
    reads = list(waiting)
    layers = [0] * count
    ready = [one for one in range(count) if not waiting[one]]
    for one in ready:  # grows while it is walked
        for target in below[one]:
            layers[target] = max(layers[target], layers[one] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    for one in range(count):
        if not reads[one] and below[one]:
            layers[one] = min(layers[target] for target in below[one]) - 1
    return layers


def _ordered(graph: _Lanes) -> list[list[int]]:
    """The order within each layer: sweeps to the mean position of the neighbors, the order with the fewest crossings."""
    order: list[list[int]] = [[] for _ in range(max(graph.layers, default=-1) + 1)]
    for one in range(len(graph.widths)):
        order[graph.layers[one]].append(one)
    best, fewest = [list(layer) for layer in order], _crossings(graph, order)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbors = graph.above if down else graph.below
        place = {one: index for layer in order for index, one in enumerate(layer)}
        for layer in order if down else reversed(order):
            means = {
                one: sum(place[other] for other in neighbors[one]) / len(neighbors[one])
                if neighbors[one]
                else float(place[one])
                for one in layer
            }
            layer.sort(key=means.__getitem__)
            place.update({one: index for index, one in enumerate(layer)})
        crossings = _crossings(graph, order)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in order], crossings
    return best


def _crossings(graph: _Lanes, order: Sequence[Sequence[int]]) -> int:
    place = {one: index for layer in order for index, one in enumerate(layer)}
    count = 0
    for layer in order:
        ends = [(place[one], place[other]) for one in layer for other in graph.below[one]]
        count += sum(
            (a - c) * (b - d) < 0 for index, (a, b) in enumerate(ends) for c, d in ends[index + 1 :]
        )  # fmt: skip
    return count


def _across(graph: _Lanes, order: Sequence[Sequence[int]]) -> list[float]:
    """Centers: boxes below the boxes that they read, and lanes below lanes, as far as they do not overlap."""
    across = [0.0] * len(graph.widths)
    for layer in order:
        _place(graph, layer, dict.fromkeys(layer, 0.0), across)
    for sweep in range(2 * _SWEEPS):
        for layer in order if sweep % 2 == 0 else reversed(order):
            wanted = {}
            for one in layer:
                near = graph.above[one] + graph.below[one] if sweep > 2 else (graph.above, graph.below)[sweep % 2][one]
                alike = [other for other in near if (other >= graph.boxes) == (one >= graph.boxes)]
                near = alike or near
                wanted[one] = sum(across[other] for other in near) / len(near) if near else across[one]
            _place(graph, layer, wanted, across)
    return across


def _place(graph: _Lanes, layer: Sequence[int], wanted: dict[int, float], across: list[float]) -> None:
    """The positions with the smallest squared distance to the wanted ones that keep the order and the gaps."""
    offsets, offset = [], 0.0
    for index, one in enumerate(layer):
        if index:
            offset += (graph.widths[layer[index - 1]] + graph.widths[one]) / 2 + GAP_ACROSS
        offsets.append(offset)
    runs: list[tuple[float, float, int]] = []  # sum of weighted positions, weight, boxes
    for one, shift in zip(layer, offsets, strict=True):
        weight = 1.0 if one >= graph.boxes else 4.0
        runs.append((weight * (wanted[one] - shift), weight, 1))
        while len(runs) > 1 and runs[-2][0] / runs[-2][1] >= runs[-1][0] / runs[-1][1]:
            total, heavy, count = runs.pop()
            runs[-1] = (runs[-1][0] + total, runs[-1][1] + heavy, runs[-1][2] + count)
    index = 0
    for total, weight, count in runs:
        for _ in range(count):
            across[layer[index]] = total / weight + offsets[index]
            index += 1


def _curve(graph: _Lanes, centers: Sequence[Point], path: Sequence[int], heights: Sequence[float]) -> str:
    """From the lower side of a box to the upper side of another, straight through the layers between them."""

    def side(one: int, below: bool) -> Point:
        x, y = centers[one]
        half = heights[graph.layers[one]] / 2 if one >= graph.boxes else graph.heights[one] / 2
        return x, y + half if below else y - half

    start = side(path[0], True)
    text = f"M{start[0]:.1f} {start[1]:.1f}"
    for index, one in enumerate(path[1:], 1):
        end = side(one, False)
        middle = (start[1] + end[1]) / 2
        text += f"C{start[0]:.1f} {middle:.1f} {end[0]:.1f} {middle:.1f} {end[0]:.1f} {end[1]:.1f}"
        if index < len(path) - 1:
            start = side(one, True)
            text += f"L{start[0]:.1f} {start[1]:.1f}"
    return text
