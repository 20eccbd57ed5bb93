"""Kinds are objects that are asked, not strings and types that many files compare."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "adaptrt"
PREDICTIONS = "Detections|Classification|SemanticMap|Values"
COMPARED = {
    "isinstance over prediction types": rf"isinstance\([^)]*\b(?:{PREDICTIONS})\b",
    "prediction types as keys or in match": rf"\bcase (?:{PREDICTIONS})\(|: (?:{PREDICTIONS})[,}}]\s*$",
    "a task compared by name": r"""\.task\s*(?:==|!=|in|not in)\s*[\[({]?\s*["']""",
    "a table by task": r"\[\w*\.?spec\.task\]|\.get\(\w*\.?spec\.task\b",
}


def found_in(text: str) -> list[str]:
    return [what for what, pattern in COMPARED.items() if re.search(pattern, text, re.MULTILINE)]


def test_only_tasks_look_at_predictions() -> None:
    """What differs between tasks is asked of ``task_named(spec.task)``: a new task touches no other file."""
    files = [path for path in CORE.rglob("*.py") if CORE / "tasks" not in path.parents]
    assert len(files) > 100
    found = {str(path.relative_to(CORE)): found_in(path.read_text(encoding="utf-8")) for path in files}
    assert {path: what for path, what in found.items() if what} == {}


def test_the_patterns_find_what_they_are_for() -> None:
    for line in (
        "if isinstance(found, Detections):",
        "all(isinstance(one, (Detections, Classification)) for one in found)",
        "wanted = {'detect': Detections,",
        'if spec.task == "detect":',
        "if spec.task in ('detect', 'classify'):",
        "_MODULES[spec.task]",
        "TYPES.get(spec.task)",
    ):
        assert found_in(line), line
