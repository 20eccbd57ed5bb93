"""Plain tables: columns of equal width."""

from __future__ import annotations


def aligned_rows(rows: list[list[str]], *, left: int) -> list[str]:
    """Columns aligned: the first ``left`` to the left, the others, numbers, to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
