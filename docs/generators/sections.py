"""Sections of pages of measurements: a title, the lines, the script and the machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOT_MACHINE = ("date", "cpu", "cores", "python", "torch threads")


def section(title: str, script: str, lines: Sequence[str], kept: dict[str, Any] | None) -> list[str]:
    said = f"`benchmarks/{script}.py`" + (f": {machine(kept)}." if kept else ".")
    return [f"## {title}", "", *lines, "", said]


def machine(kept: dict[str, Any]) -> str:
    """The machine and the versions, in one line."""
    found = kept["machine"]
    versions = [f"{name} {version}" for name, version in found.items() if name not in NOT_MACHINE]
    place = f"{found['cores']} cores of an {found['cpu']}"
    return f"{place}, Python {found['python']}, {', '.join(versions)}, {found['date']}"
