"""A benchmark as one self-contained page, with a plot of each measurement over the turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.quantities import digits
from adaptrt.rendering.benchmarks import change_text, peak_text, work_cells
from adaptrt.rendering.html import render_template

if TYPE_CHECKING:
    from adaptrt.pipeline.bench.records import Benchmark, Row

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 1040, 240, 84, 16, 14, 34
COLORS = 6  # that the page has


@dataclass(frozen=True)
class Line:
    """The median of each turn; ``color`` is that of the file."""

    form: str
    color: int
    points: str
    dashed: bool


@dataclass(frozen=True)
class Tick:
    y: float
    label: str


@dataclass(frozen=True)
class TurnsPlot:
    lines: tuple[Line, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Bar:
    """Throughput of a file; ``width`` is the percentage of the highest of the page."""

    row: Row
    color: int
    width: float
    per_second: float


@dataclass(frozen=True)
class Section:
    batch: int
    threads: int
    rows: tuple[Row, ...]
    bars: tuple[Bar, ...]
    plot: TurnsPlot


def sections(found: Benchmark) -> list[Section]:
    """A section for each batch size and number of threads."""
    colors = {form.name: index % COLORS for index, form in enumerate(found.forms)}
    calls = shows_calls(found)
    rates = {id(row): (row.call if calls and row.call is not None else row.file).per_second for row in found.rows}
    highest = max(rates.values(), default=1.0) or 1.0
    result = []
    for batch, threads in dict.fromkeys((row.batch, row.threads) for row in found.rows):
        rows = tuple(row for row in found.rows if (row.batch, row.threads) == (batch, threads))
        bars = tuple(
            Bar(row, colors[row.form], round(100 * rates[id(row)] / highest, 1), rates[id(row)]) for row in rows
        )
        result.append(Section(batch, threads, rows, bars, turns_plot(rows, colors)))
    return result


def shows_calls(found: Benchmark) -> bool:
    """Whether the throughput of calls is shown: the same for every file, so that bars can be compared."""
    return all(row.call is not None for row in found.rows)


def turns_plot(rows: Sequence[Row], colors: dict[str, int]) -> TurnsPlot:
    """Milliseconds from 0 over the turns: the call, and dashed the file alone."""
    series = [
        (row.form, measured.turns, dashed)
        for row in rows
        for measured, dashed in ((row.call, False), (row.file, True))
        if measured is not None
    ]
    highest = max((max(turns) for _, turns, _ in series), default=1.0) * 1.05 or 1.0

    def up(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / highest * (HEIGHT - TOP - BOTTOM), 1)

    def across(turn: int, count: int) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (turn / (count - 1) if count > 1 else 0.5), 1)

    lines = tuple(
        Line(
            form,
            colors[form],
            " ".join(f"{across(turn, len(turns))},{up(value)}" for turn, value in enumerate(turns)),
            dashed,
        )
        for form, turns, dashed in series
    )
    ticks = tuple(Tick(up(part * highest), f"{digits(part * highest)} ms") for part in (0, 0.25, 0.5, 0.75, 1))
    return TurnsPlot(lines, ticks)


def render_page(found: Benchmark) -> str:
    return render_template(
        "bench.html.j2",
        found=found,
        sections=sections(found),
        calls=shows_calls(found),
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=RIGHT,
        change=change_text,
        work=work_cells,
        peak_text=peak_text,
    )
