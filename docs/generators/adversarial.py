"""The table of adversarial models on the page of what verification catches: made from the cases that the tests run."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.common.results import with_tables

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/explanation/what-verification-catches.md"

TITLES = {
    "reference": "The model and its verification samples",
    "export": "Tracing, and faults of an exporter in single nodes",
    "faults": "Faults of an exporter in outputs",
}


def page() -> str:
    """The page, with its table of cases renewed."""
    return with_tables(PAGE, {"cases": cases})


def cases() -> list[str]:
    """A table for each file of cases."""
    sys.path.append(str(ROOT / "tests" / "support"))
    try:
        from adversarial_cases import all_cases
    finally:
        sys.path.pop()
    lines = []
    for subject, found in all_cases().items():
        title = TITLES.get(subject, subject.replace("_", " ").capitalize())
        lines += ["", f"### {title}", "", "| model | result |", "|---|---|"]
        lines += [f"| {case.what} | {_outcome(case.error, case.missing)} |" for case in found]
    return [*lines, ""]


def _outcome(error: str, missing: str) -> str:
    if missing:
        return f"partly verified: {_plain(missing)}"
    return f"an error: {_plain(error)}"


def _plain(pattern: str) -> str:
    """The text that a regular expression matches, for readers."""
    return pattern.replace(r"\b", "").replace(" .* ", " ").replace("\\", "").replace("|", " or ")
