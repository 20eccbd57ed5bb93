"""The numbers behind the bars of the page; widths are percentages of the longest bar or of the total."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptrt.rendering.formatting import SHORT_LINKS, used, worst

if TYPE_CHECKING:
    from adaptrt.report import Check, Link, Report, Stage


@dataclass(frozen=True)
class Bar:
    """How much of its limit a check uses. ``width`` is clipped to 100; ``text`` has the full value."""

    width: float
    text: str


@dataclass(frozen=True)
class CheckRow:
    check: Check
    bar: Bar | None


@dataclass(frozen=True)
class LinkCard:
    link: Link
    title: str
    worst: CheckRow | None
    rows: tuple[CheckRow, ...]


@dataclass(frozen=True)
class OperatorRow:
    """An operator's count as exported and at the end."""

    name: str
    exported: int
    final: int
    exported_width: float
    final_width: float

    @property
    def change(self) -> int:
        return self.final - self.exported


@dataclass(frozen=True)
class StageRow:
    """A stage, and its position on the time line."""

    stage: Stage
    start: float
    width: float


def link_cards(report: Report) -> list[LinkCard]:
    cards = []
    for link in report.links:
        decisive = worst(link)
        cards.append(
            LinkCard(
                link,
                SHORT_LINKS.get(link.number, link.name),
                _check_row(decisive) if decisive is not None else None,
                tuple(map(_check_row, link.checks)),
            )
        )
    return cards


def _check_row(check: Check) -> CheckRow:
    share = used(check)
    if share is None:
        return CheckRow(check, None)
    if check.higher_is_better:
        # higher is better: the bar shows the share itself
        value = check.value if math.isfinite(check.value) else 0.0
        return CheckRow(check, Bar(100 * min(max(value, 0.0), 1.0), ""))
    if not math.isfinite(share):
        return CheckRow(check, Bar(100, "beyond any limit"))
    return CheckRow(check, Bar(100 * min(share, 1.0), _share_text(share)))


def _share_text(share: float) -> str:
    """``equal``, ``< 0.1 %``, ``3.4 %``, ``87 %``; ``12 times`` if it is far above."""
    if share == 0:
        return "equal"
    if share < 0.001:
        return "< 0.1 %"
    if share >= 10:
        return f"{share:,.0f} times"
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def operator_rows(report: Report) -> list[OperatorRow]:
    """Every operator in the exported or final graph, most frequent first; empty if there is no graph."""
    exported = report.operators.get("exported", {})
    final = report.operators.get("final", {})
    longest = max([*exported.values(), *final.values()], default=1)
    names = sorted({*exported, *final}, key=lambda name: (-max(exported.get(name, 0), final.get(name, 0)), name))
    return [
        OperatorRow(
            name,
            exported.get(name, 0),
            final.get(name, 0),
            100 * exported.get(name, 0) / longest,
            100 * final.get(name, 0) / longest,
        )
        for name in names
    ]


def stage_rows(report: Report) -> list[StageRow]:
    """The stages one after the other, as shares of the whole time."""
    total = report.seconds or 1.0
    rows, start = [], 0.0
    for stage in report.stages:
        rows.append(StageRow(stage, 100 * start / total, 100 * stage.seconds / total))
        start += stage.seconds
    return rows
