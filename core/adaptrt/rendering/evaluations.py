"""An evaluation as a table for the terminal, and as data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.evaluation.records import Evaluation


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """A line for each backend: scores in percent, agreement with the first one, pictures a second."""
    names = list(evaluation.results[0].scores)
    head = ["backend", "file", *names, "agrees", "pictures/s", "model alone/s"]
    rows = [
        [
            result.backend,
            result.file,
            *(f"{100 * result.scores[name]:.2f} %" for name in names),
            "" if result.same is None else f"{100 * result.same:.2f} %",
            f"{result.pictures_per_second:.1f}",
            f"{result.runs_per_second:.1f}",
        ]
        for result in evaluation.results
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [head, *rows]
    ]
    return [
        *lines,
        "",
        f"{evaluation.pictures} pictures of {evaluation.data}, {evaluation.batch} at a time",
        *evaluation.notes,
    ]


def evaluation_data(evaluation: Evaluation) -> dict[str, Any]:
    data = dataclasses.asdict(evaluation)
    for row, result in zip(data["results"], evaluation.results, strict=True):
        row["pictures_per_second"] = result.pictures_per_second
        row["runs_per_second"] = result.runs_per_second
    return data
