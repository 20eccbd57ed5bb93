from __future__ import annotations

import pytest

from adaptrt.rendering import charts
from adaptrt.report import Report


def test_operators_before_and_after(report: Report) -> None:
    rows = charts.operator_rows(report)
    assert [(row.name, row.exported, row.final, row.change) for row in rows] == [
        ("Gather", 16, 0, -16), ("Add", 0, 12, 12), ("Conv", 10, 10, 0), ("Shape", 4, 0, -4),
    ]  # fmt: skip
    assert [row.exported_width for row in rows] == [100, 0, 62.5, 25]
    assert [row.final_width for row in rows] == [0, 75, 62.5, 0]


def test_no_graph_no_operators() -> None:
    assert charts.operator_rows(Report("a", "b", "c")) == []


def test_stages_fill_the_time_line(report: Report) -> None:
    rows = charts.stage_rows(report)
    assert [(row.start, row.width) for row in rows] == [(0, 10), (10, pytest.approx(40)), (pytest.approx(50), 50)]


def test_stages_of_no_length() -> None:
    report = Report("a", "b", "c")
    from adaptrt.report import Stage

    report.stages = [Stage("load")]
    assert charts.stage_rows(report)[0].width == 0


def test_bars_show_the_share_of_the_limit(failed: Report) -> None:
    cards = charts.link_cards(failed)
    assert [row.bar.text for row in cards[2].rows if row.bar] == ["25 %", "3,100 times"]
    assert [row.bar.width for row in cards[2].rows if row.bar] == [25, 100]
    assert cards[2].worst is not None
    assert cards[2].worst.check.name == "output0: scores"
    assert cards[1].rows[0].bar is not None
    assert cards[1].rows[0].bar.text == "equal"
    assert cards[4].worst is None
