"""A comparison of tensors as text for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adaptrt.quantities import counted
from adaptrt.rendering.formatting import number
from adaptrt.rendering.tables import aligned_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.pipeline.layers.records import LayerComparison, PairComparison, TensorRow

SHOWN = 24  # rows of a pair, unless all of them are requested
_SEARCH = {
    "all": "every tensor",
    "bisect": "a bisection",
    "named": "the requested tensors",
}


def comparison_lines(found: LayerComparison, *, every: bool = False) -> list[str]:
    """A table for each pair, the first tensor beyond its limit, and notes. Long tables are shortened unless ``every``."""
    lines: list[str] = []
    for pair in found.pairs:
        rows = pair.rows if every else chosen_rows(pair)
        lines += [f"{pair.subject} compared with {pair.reference}, limits of {pair.precision}", ""]
        lines += table_lines(rows)
        hidden = len(pair.rows) - len(rows)
        lines += [f"({hidden} more, shown with -v)"] if hidden else []
        lines += ["", *first_lines(pair), *(f"Note: {note}." for note in pair.notes), ""]
    return [*lines, f"Inputs: {found.inputs}"]


def table_lines(rows: Sequence[TensorRow]) -> list[str]:
    head = ["", "tensor", "operator", "max", "mean", "relative", "cosine", "of limit"]
    cells = [
        [
            "" if row.passed else ">",
            _cut(row.name),
            row.operator,
            number(row.max),
            number(row.mean),
            number(row.relative),
            f"{row.cosine:.6f}",
            share(row.used),
        ]
        for row in rows
    ]
    return aligned_rows([head, *cells], left=3)


def first_lines(pair: PairComparison) -> list[str]:
    """The first tensor beyond its limit, with everything that is known about where it comes from."""
    compared = (
        f"{counted(len(pair.rows), 'tensor')} compared ({_SEARCH[pair.search]} of {pair.aligned} that exist in both)"
    )
    row = pair.first
    if row is None:
        return [f"{compared}: all within their limits."]
    lines = [f"{compared}. The first beyond its limit:"]
    lines += [f"  tensor    {row.name}" + (f" ({row.reference} in {pair.reference})" if row.reference else "")]
    lines += [f"  node      {row.node} ({row.operator})"] if row.node else []
    lines += [f"  module    {row.module}"] if row.module else []
    if row.source is not None:
        code = f"  {row.source.code}" if row.source.code else ""
        lines.append(f"  line      {row.source.file}:{row.source.line}{code}")
    lines.append(f"  differs   {number(row.max)} at most, {share_of_limit(row.used)}")
    lines += [f"  limit     for {row.reason}"] if row.reason else []
    return lines


def chosen_rows(pair: PairComparison) -> list[TensorRow]:
    """The outputs, the first tensors beyond their limits with what comes before, and those closest to their limits."""
    if len(pair.rows) <= SHOWN:
        return pair.rows
    wrong = [index for index, row in enumerate(pair.rows) if not row.passed][: SHOWN // 3]
    kept = {index for index, row in enumerate(pair.rows) if row.output}
    kept |= {near for index in wrong for near in (index - 1, index) if near >= 0}
    close = sorted(range(len(pair.rows)), key=lambda index: -pair.rows[index].used)
    kept |= set(close[: max(0, SHOWN - len(kept))])
    return [pair.rows[index] for index in sorted(kept)]


def share(used: float) -> str:
    """``3.4 %``, ``99.8 %``, ``12 times``; ``not finite`` for NaN, infinity and other shapes."""
    if not math.isfinite(used):
        return "not finite"
    if used >= 10:
        return f"{used:,.0f} times"
    if abs(used - 1) < 0.01:  # the digits say on which side of the limit it is
        return f"{100 * used:.4g} %"
    return f"{100 * used:.2g} %" if used < 1 else f"{100 * used:.0f} %"


def share_of_limit(used: float) -> str:
    """``3.4 % of its limit``, ``12 times its limit``, ``not finite``."""
    text = share(used)
    return f"{text} of its limit" if text.endswith("%") else f"{text} its limit" if math.isfinite(used) else text


def tensor_facts(arrays: Mapping[str, NDArray[Any]]) -> list[dict[str, Any]]:
    """Name, shape, type and range of each array; ``None`` without a finite number. ``not_finite`` counts NaN and infinity."""
    import numpy as np

    facts = []
    for name, array in arrays.items():
        values = array.astype(np.float64)
        finite = values[np.isfinite(values)]
        figures = (float(one) for one in (finite.min(), finite.max(), finite.mean())) if finite.size else (None,) * 3
        facts.append(
            {
                "name": name,
                "shape": list(array.shape),
                "dtype": str(array.dtype),
                **dict(zip(("min", "max", "mean"), figures, strict=True)),
                "not_finite": int(values.size - finite.size),
            }
        )
    return facts


def _cut(name: str) -> str:
    return name if len(name) <= 56 else f"...{name[-53:]}"
