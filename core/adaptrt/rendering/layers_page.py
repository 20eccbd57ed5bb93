"""A comparison of tensors as one self-contained page, with a plot over depth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.rendering.html import render_template
from adaptrt.rendering.layers import chosen_rows, share, share_of_limit

if TYPE_CHECKING:
    from adaptrt.pipeline.layers.records import LayerComparison, PairComparison, TensorRow

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1040, 260, 72, 16, 14, 34
_LOWEST, _HIGHEST = -6, 3  # powers of ten of the share of the limit that the plot can show


@dataclass(frozen=True)
class Dot:
    """A tensor in the plot; ``title`` is shown when the pointer rests on it."""

    x: float
    y: float
    title: str
    passed: bool
    output: bool


@dataclass(frozen=True)
class Line:
    """A horizontal line of the grid; ``limit``: that at which a tensor is at its limit."""

    y: float
    label: str
    limit: bool


@dataclass(frozen=True)
class DepthPlot:
    """The share of its limit that each tensor uses, in logarithmic scale, over its position in the graph."""

    dots: tuple[Dot, ...]
    lines: tuple[Line, ...]
    path: str
    last: int


@dataclass(frozen=True)
class PairSection:
    pair: PairComparison
    plot: DepthPlot
    closest: list[TensorRow]


def depth_plot(pair: PairComparison) -> DepthPlot:
    rows = pair.rows
    powers = [_power(row) for row in rows]
    low = max(_LOWEST, min(-2, math.floor(min(powers, default=-2))))
    high = min(_HIGHEST, max(1, math.ceil(max(powers, default=1))))
    last = max((row.order for row in rows), default=1) or 1

    def across(row: TensorRow) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * row.order / last, 1)

    def up(power: float) -> float:
        clipped = min(max(power, low), high)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - clipped) / (high - low), 1)

    dots = tuple(
        Dot(
            across(row),
            up(power),
            f"{row.name} ({row.operator}): {share_of_limit(row.used)}",
            row.passed,
            row.output,
        )
        for row, power in zip(rows, powers, strict=True)
    )
    lines = tuple(Line(up(power), f"{10.0 ** (power + 2):g} %", power == 0) for power in range(low, high + 1))
    path = " ".join(f"{'L' if index else 'M'}{dot.x} {dot.y}" for index, dot in enumerate(dots))
    return DepthPlot(dots, lines, path, last)


def _power(row: TensorRow) -> float:
    if not math.isfinite(row.used):
        return _HIGHEST
    return math.log10(row.used) if row.used > 0 else _LOWEST


def render_page(found: LayerComparison) -> str:
    sections = [PairSection(pair, depth_plot(pair), chosen_rows(pair)) for pair in found.pairs]
    return render_template(
        "layers.html.j2",
        found=found,
        sections=sections,
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        share=share,
        share_of_limit=share_of_limit,
    )
