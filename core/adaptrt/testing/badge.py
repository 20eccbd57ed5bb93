"""A badge with the result of the contract tests, for a README: ``pytest --contract-badge contract.svg``."""

from __future__ import annotations

from pathlib import Path

import pytest

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" aria-label="{left}: {right}">
<title>{left}: {right}</title>
<rect width="{width}" height="20" rx="3" fill="#555"/>
<rect x="{split}" width="{rest}" height="20" rx="3" fill="{color}"/>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{left_x}" y="14">{left}</text>
<text x="{right_x}" y="14">{right}</text>
</g>
</svg>
"""
_LETTER = 7  # pixels


class ContractBadge:
    """Counts the contract tests of a run; expected failures count as missing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.passed: set[str] = set()
        self.seen: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if "adaptrt_contract" not in dict(report.user_properties):
            return
        self.seen.add(report.nodeid)
        if report.when == "call" and report.outcome == "passed":
            self.passed.add(report.nodeid)
        elif report.failed:
            self.passed.discard(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.path.write_text(badge(len(self.passed), len(self.seen)), encoding="utf-8")


def badge(passed: int, total: int) -> str:
    """As SVG; gray if no contract test ran."""
    from adaptrt import __version__

    left, right = f"adaptrt {__version__} contract", f"{passed} of {total} passed" if total else "not run"
    color = "#9f9f9f" if not total else "#2ea44f" if passed == total else "#d73a49"
    split, rest = _LETTER * len(left) + 10, _LETTER * len(right) + 10
    return _SVG.format(
        left=left, right=right, color=color, split=split, rest=rest, width=split + rest,
        left_x=split // 2, right_x=split + rest // 2,
    )  # fmt: skip
