"""A benchmark as text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptrt.quantities import counted, file_size
from adaptrt.rendering.formatting import number
from adaptrt.rendering.tables import aligned_rows

if TYPE_CHECKING:
    from adaptrt.pipeline.bench.records import Benchmark, Comparison, Measured, Peak, Row


def benchmark_lines(found: Benchmark) -> list[str]:
    """The times of each file, comparisons with the first, and the work of a run."""
    head = ["file", "measured", "batch", "threads", "p50 ms", "p90 ms", "p99 ms", "images/s"]
    rows = []
    for row in found.rows:
        for what, measured in row.measured():
            rows.append([row.form, what, str(row.batch), str(row.threads), *_times(measured)])
        for what, spent in (("preprocessing", row.preprocess), ("postprocessing", row.postprocess)):
            if spent is not None:
                rows.append([row.form, what, str(row.batch), str(row.threads), number(spent), "", "", ""])
    lines = [*aligned_rows([head, *rows], left=2), ""]
    if found.comparisons:
        lines += [*_comparison_lines(found), ""]
    lines += [*_work_lines(found), ""]
    lines += [f"Backends: {', '.join(f'{form.name}: {form.backend}' for form in found.forms)}"]
    lines += [f"Images: {found.image}; {found.turns} turns, {found.seconds:g} s for each measurement"]
    lines += [f"GPU {one.name}: {one.low:g} to {one.high:g} {one.unit}, median {one.median:g}" for one in found.gpu]
    lines += [f"{form.name}: {warning}" for form in found.forms for warning in form.warnings]
    lines += [f"Warning: {warning}." for warning in found.warnings]
    return lines + [f"Note: {note}." for note in found.notes]


def _times(measured: Measured) -> list[str]:
    return [number(measured.p50), number(measured.p90), number(measured.p99), f"{measured.per_second:.1f}"]


def _comparison_lines(found: Benchmark) -> list[str]:
    first = found.comparisons[0].baseline
    head = [f"compared with {first}", "measured", "batch", "threads", "time", "quartiles of the turns"]
    rows = [
        [
            one.form,
            one.what,
            str(one.batch),
            str(one.threads),
            change_text(one.ratio),
            f"{change_text(one.low)} to {change_text(one.high)}",
        ]
        for one in found.comparisons
    ]
    return aligned_rows([head, *rows], left=2)


def _work_lines(found: Benchmark) -> list[str]:
    head = ["work of a run", "batch", "GFLOP per image", "least traffic", "unfused", "physical limit", "reached"]
    rows = []
    for row in found.rows:
        cells = [row.form, str(row.batch), *work_cells(row)]
        if cells not in rows and row.threads == min(one.threads for one in found.rows):
            rows.append(cells)
    lines = aligned_rows([head, *rows], left=1)
    return lines + [f"{name}: {peak_text(peak)}" for name, peak in found.peaks()]


def peak_text(peak: Peak) -> str:
    """``900 TFLOP/s, 2.9 TB/s``, and where it is from."""
    rates = ((peak.operations / 1e9, "FLOP/s"), (peak.bytes / 1e9, "B/s"))
    shown = [f"{number(rate / 1000)} T{unit}" if rate >= 1000 else f"{number(rate)} G{unit}" for rate, unit in rates]
    return f"{', '.join(shown)} ({peak.source})"


def work_cells(row: Row) -> list[str]:
    """Operations per image, bytes of a run and the physical limit; ``unknown`` where nothing is known."""
    if row.operations is None or row.least_bytes is None or row.node_bytes is None:
        return ["unknown"] * 4 + [""]
    share = row.limit_share
    return [
        number(row.operations / row.batch / 1e9),
        file_size(int(row.least_bytes)),
        file_size(int(row.node_bytes)),
        "unknown" if row.limit is None else f"{number(row.limit)} ms ({row.limited_by})",
        "" if share is None else f"{100 * share:.0f} %",
    ]


def change_text(ratio: float) -> str:
    """``+3.2 %``: slower."""
    return f"{100 * (ratio - 1):+.1f} %"


def regression_text(one: Comparison) -> str:
    return (
        f"{one.form} {change_text(one.ratio)} ({one.what}, batch {one.batch}, "
        f"{counted(one.threads, 'thread')}: p50 {number(one.form_ms)} ms, {one.baseline} {number(one.baseline_ms)} ms; "
        f"quartiles of the turns {change_text(one.low)} to {change_text(one.high)})"
    )
