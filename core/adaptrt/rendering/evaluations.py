"""An evaluation as a table for the terminal, and as data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from adaptrt.rendering.tables import aligned_rows

if TYPE_CHECKING:
    from adaptrt.evaluation.records import Evaluation

IN_A_ROW = 6


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """A line for each backend: scores in percent, agreement with the first one, images per second.

    Scores beyond the first ``IN_A_ROW`` follow in separate tables.
    """
    everything = list(evaluation.results[0].scores)
    names, others = everything[:IN_A_ROW], everything[IN_A_ROW:]
    figures = list(dict.fromkeys(name for result in evaluation.results for name in result.figures))
    head = ["backend", "file", *names, *figures, "agrees", "images/s", "model only/s"]
    rows = [
        [
            result.backend,
            result.file,
            *(f"{100 * result.scores[name]:.2f} %" for name in names),
            *(f"{result.figures[name]:.4g}" if name in result.figures else "" for name in figures),
            "" if result.same is None else f"{100 * result.same:.2f} %",
            f"{result.images_per_second:.1f}",
            f"{result.runs_per_second:.1f}",
        ]
        for result in evaluation.results
    ]
    return [
        *aligned_rows([head, *rows], left=2),
        "",
        *_more_lines(evaluation, others),
        *_class_lines(evaluation),
        f"{evaluation.images} images of {evaluation.data}, batch size {evaluation.batch}",
        *evaluation.notes,
    ]


def _more_lines(evaluation: Evaluation, names: list[str]) -> list[str]:
    lines = []
    for start in range(0, len(names), IN_A_ROW):
        part = names[start : start + IN_A_ROW]
        rows = [
            [result.backend, result.file, *(f"{100 * result.scores[name]:.2f} %" for name in part)]
            for result in evaluation.results
        ]
        lines += [*aligned_rows([["backend", "file", *part], *rows], left=2), ""]
    return lines


def _class_lines(evaluation: Evaluation) -> list[str]:
    """A line for each class: how much there is of it, and each backend's main score; of one backend alone, every score."""
    first = evaluation.results[0].per_class
    if not first:
        return []
    count, *scores = next(iter(first.values()))
    if len(evaluation.results) > 1:
        backends = [result.backend for result in evaluation.results]
        alike = len(set(backends)) < len(backends)
        columns = [
            (f"{scores[0]} {result.file if alike else result.backend}", result, scores[0])
            for result in evaluation.results
        ]
    else:
        columns = [(score, evaluation.results[0], score) for score in scores]
    head = ["class", count, *(title for title, _, _ in columns)]
    rows = [
        [
            name,
            f"{entry[count]:.0f}",
            *(
                f"{100 * result.per_class[name][score]:.2f} %" if name in result.per_class else ""
                for _, result, score in columns
            ),
        ]
        for name, entry in first.items()
    ]
    return [*aligned_rows([head, *rows], left=1), ""]


def evaluation_data(evaluation: Evaluation) -> dict[str, Any]:
    data = dataclasses.asdict(evaluation)
    for row, result in zip(data["results"], evaluation.results, strict=True):
        row["images_per_second"] = result.images_per_second
        row["runs_per_second"] = result.runs_per_second
    return data
