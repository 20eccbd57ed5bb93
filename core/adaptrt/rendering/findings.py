"""Graph-check findings on the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from adaptrt.quantities import counted

if TYPE_CHECKING:
    from rich.console import Console

    from adaptrt.report import Finding, Severity

_COLORS: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "dim"}


def print_findings(console: Console, findings: Sequence[Finding], *, hidden: int = 0) -> None:
    """Print each finding: what, how often, where, and what to write instead."""
    for finding in findings:
        line = Text(f"{finding.severity:<8}", style=_COLORS[finding.severity])
        line.append(f"{finding.count} x {finding.operator}: " if finding.operator else "", style="bold")
        line.append(finding.message)
        line.append(f"  [{finding.rule}]", style="dim")
        console.print(line, soft_wrap=True)
        for place in finding.places:
            where = Text(f"          {place.file}:{place.line}", style="cyan")
            where.append(f"  {place.code}" if place.code else "")
            where.append(f"  ({place.count} times)" if place.count > 1 else "", style="dim")
            console.print(where, soft_wrap=True)
        console.print(Text(f"          hint: {finding.advice}", style="dim"), soft_wrap=True)
    console.print(
        Text(summary(findings) + (f" ({counted(hidden, 'note')}, shown with -v)" if hidden else "")), soft_wrap=True
    )


def summary(findings: Sequence[Finding]) -> str:
    """``2 errors, 1 warning``."""
    counts = Counter(finding.severity for finding in findings)
    parts = [counted(counts[level], level) for level in _COLORS if counts[level]]
    return ", ".join(parts) if parts else "No issues found."
