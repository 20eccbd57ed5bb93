"""Numbers, sizes, durations and lists as text."""

from __future__ import annotations

from collections.abc import Sequence


def digits(value: float, count: int = 3) -> str:
    """So many significant digits, and more where a number below a million has more before its point: ``0.0264``, ``12.3``, ``1980``."""
    text = f"{value:.{count}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e6 else text


def counted(count: int, one: str, many: str = "") -> str:
    """A number and what it counts, ``1 sample``, ``4 samples``; ``many``: the plural, if it is not ``one`` and an s."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def file_size(count: int) -> str:
    """Bytes in the units that ``ls -h`` uses, with powers of 1000: ``10.2 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration(seconds: float) -> str:
    """``85 ms``, ``12.3 s``, ``2 min 5 s``."""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {seconds % 60:.0f} s"
