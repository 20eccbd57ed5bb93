"""What ``adaptrt tune`` measured: the points of the plot, and lines for the terminal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.quantities import digits
from adaptrt.rendering.formatting import display_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adaptrt.report import Report
    from adaptrt.specs.tuning import PointRecord, Tuning


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    title: str
    chosen: bool


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Plot:
    """Loss over cost, in pixels: ``limit`` is the height of the allowed loss, ``front`` the points that no other beats."""

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    limit: float
    dots: tuple[Dot, ...]
    front: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    x_title: str


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 360, 56, 700, 16, 310


def pareto_plot(tuning: Tuning) -> Plot:
    """The measured time of one run where every point has one, else the cost."""
    timed = [point for point in tuning.points if point.milliseconds is not None]
    by_time = bool(timed) and len(timed) == len(tuning.points)

    def at(point: PointRecord) -> float:
        return point.milliseconds if by_time and point.milliseconds is not None else point.cost

    finite = [point for point in tuning.points if math.isfinite(point.judged)]
    costs = [at(point) for point in finite] or [1.0]
    low, high = min(costs), max(costs)
    space = (high - low or 1.0) * 0.08
    low, high = low - space, high + space
    least = min([0.0, *(point.judged for point in finite)])
    most = max([tuning.limit, *(point.judged for point in finite)]) * 1.08 or 1.0

    def x(value: float) -> float:
        return round(_LEFT + (value - low) / (high - low) * (_RIGHT - _LEFT), 1)

    def y(value: float) -> float:
        return round(_BOTTOM - (value - least) / (most - least) * (_BOTTOM - _TOP), 1)

    dots = tuple(
        Dot(x(at(point)), y(point.judged), f"{point.title}: {point.judged:.2f} points, {at(point):.2f}", point.chosen)
        for point in finite
    )
    front = " ".join(f"{x(at(point))},{y(point.judged)}" for point in _front(finite, [at(point) for point in finite]))
    return Plot(
        _WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, y(tuning.limit), dots, front,
        tuple(Tick(x(low + part * (high - low)), f"{low + part * (high - low):.2f}") for part in (0.1, 0.5, 0.9)),
        tuple(Tick(y(least + part * (most - least)), f"{least + part * (most - least):.2f}") for part in (0, 0.5, 1)),
        "milliseconds" if by_time else "cost (operations weighted by precision, relative to fp16)",
    )  # fmt: skip


def _front(points: Sequence[PointRecord], costs: Sequence[float]) -> list[PointRecord]:
    """The points that no other beats in both, by cost."""
    found: list[PointRecord] = []
    for _, point in sorted(zip(costs, points, strict=True), key=lambda one: (one[0], one[1].judged)):
        if not found or point.judged < found[-1].judged:
            found.append(point)
    return found


def tuning_lines(report: Report) -> list[str]:
    """The tables as text, and the files."""
    tuning = report.tuning
    assert tuning is not None
    width = max(len(block.name) for block in tuning.blocks)
    lines = [f"{'block':<{width}}  operations     int8     fp16  recipe"]
    lines += [
        f"{block.name:<{width}}  {100 * block.operations:8.1f} %  {_number(block.int8)} {_number(block.fp16)}  {block.precision}"
        for block in tuning.blocks
    ]
    longest = max(len(point.title) for point in tuning.points)
    confidence = any(point.confidence is not None for point in tuning.points)
    lines += ["", f"{'configuration':<{longest}}    loss {'confidence ' * confidence}  cost        ms"]
    lines += [
        f"{point.title:<{longest}}  {point.loss:6.2f} {_points(point.confidence) * confidence}{point.cost:6.2f}  "
        f"{_number(point.milliseconds)}{'  <- recipe' if point.chosen else ''}"
        for point in tuning.points
    ]
    lines += [
        "",
        f"int8 and fp16: relative error of the outputs with this block alone. Loss: {tuning.loss_of}, on {tuning.images} images.",
    ]
    if confidence:
        lines.append(
            "Confidence: points of the mean score of the right class that are lost; the larger of both is judged."
        )
    lines += [f"Cost: {tuning.cost_of}.", *(f"Note: {note}" for note in report.notes)]
    lines += [
        f"Written: {display_path(path)}" for path in (*(one.path for one in report.files.values()), *report.reports)
    ]
    return lines


def _points(value: float | None) -> str:
    return f"{value:10.2f} " if value is not None else f"{'':11}"


def _number(value: float | None) -> str:
    return f"{digits(value):>8}" if value is not None else f"{'':8}"
