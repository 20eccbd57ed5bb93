"""The results of a sweep as a table in the terminal and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.quantities import digits, duration, file_size
from adaptrt.rendering.html import render_template, write_document

if TYPE_CHECKING:
    from rich.table import Table

    from adaptrt.sweep.table import SweptConversion

NONE = "-"


def cells_of(row: SweptConversion, *, latency: bool) -> list[str]:
    """The columns after the axes."""
    measured = [NONE if row.latency is None else f"{digits(row.latency)} ms"] if latency else []
    return [
        row.status,
        NONE if row.nodes is None else str(row.nodes),
        NONE if row.difference is None else f"{row.difference:.3g}",
        NONE if row.metric is None else f"{row.metric:.4g}",
        *measured,
        NONE if row.bytes is None else file_size(row.bytes),
        duration(row.seconds),
    ]


def headings_of(rows: Sequence[SweptConversion]) -> list[str]:
    latency = ["latency"] if _measured(rows) else []
    return [
        "model",
        *(rows[0].values if rows else ()),
        "result",
        "nodes",
        "difference / limit",
        "lowest metric",
        *latency,
        "size",
        "time",
    ]


def _measured(rows: Sequence[SweptConversion]) -> bool:
    return any(row.latency is not None for row in rows)


def sweep_table(rows: Sequence[SweptConversion]) -> Table:
    from rich.table import Table
    from rich.text import Text  # names can contain what rich takes for markup

    table = Table(box=None, pad_edge=False)
    for heading in headings_of(rows):
        table.add_column(Text(heading))
    for row in rows:
        table.add_row(*map(Text, [row.model, *row.values.values(), *cells_of(row, latency=_measured(rows))]))
    return table


def render_sweep(rows: Sequence[SweptConversion], title: str) -> str:
    lines = [(row, [row.model, *row.values.values(), *cells_of(row, latency=_measured(rows))]) for row in rows]
    failed = sum(row.status == "failed" for row in rows)
    return render_template("sweep.html.j2", headings=headings_of(rows), lines=lines, title=title, failed=failed)


def write_sweep(rows: Sequence[SweptConversion], path: Path, title: str) -> None:
    write_document(path, render_sweep(rows, title))
