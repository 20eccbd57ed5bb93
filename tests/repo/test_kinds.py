"""Kinds are objects that are asked, not strings and types that many files compare."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from adaptrt import predictions
from adaptrt.specs.backends import BACKENDS, all_targets
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.specs.tasks import TASKS

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "adaptrt"
PREDICTIONS = "|".join(
    name
    for name, kind in vars(predictions).items()
    if inspect.isclass(kind) and kind.__module__ == predictions.__name__ and kind is not predictions.ImageMeta
)
LOOKED_AT = {
    "isinstance over prediction types": rf"isinstance\([^)]*\b(?:{PREDICTIONS})\b",
    "prediction types as keys or in match": rf"\bcase (?:{PREDICTIONS})\(|: (?:{PREDICTIONS})[,}}]\s*$",
    "a table by task": r"\[\w*\.?spec\.task\]|\.get\(\w*\.?spec\.task\b",
}
# files that compare a string with the name of a kind, and what that string is
OTHER_NAMES = {
    "pipeline/adopt.py": "the task in Ultralytics' metadata",
    "report.py": "a field of report files before version 2",
    "backends/tensorrt/build/precision_report.py": "a data type of TensorRT's inspector",
}


def kinds() -> set[str]:
    registered = [name for registry in (TASKS, BACKENDS, PRECISIONS) for name in registry.names()]
    return {*registered, *all_targets()}


def looked_at(text: str) -> list[str]:
    return [what for what, pattern in LOOKED_AT.items() if re.search(pattern, text, re.MULTILINE)]


def compared(text: str, names: set[str]) -> Iterator[str]:
    """Strings among ``names`` that are an operand of a comparison, alone or in a tuple, list or set."""
    for node in ast.walk(ast.parse(text)):
        operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.MatchValue):
            operands = [node.value]
        for operand in operands:
            for part in operand.elts if isinstance(operand, (ast.Tuple, ast.List, ast.Set)) else [operand]:
                if isinstance(part, ast.Constant) and part.value in names:
                    yield str(part.value)


def sources() -> list[Path]:
    return [path for path in CORE.rglob("*.py") if CORE / "tasks" not in path.parents]


def test_only_tasks_look_at_predictions() -> None:
    """What differs between tasks is asked of ``task_named(spec.task)``: a new task touches no other file."""
    assert len(sources()) > 100
    found = {str(path.relative_to(CORE)): looked_at(path.read_text(encoding="utf-8")) for path in sources()}
    assert {path: what for path, what in found.items() if what} == {}


def test_no_kind_is_compared_by_name() -> None:
    """What differs between backends, precisions, targets and tasks is a field or method of their objects."""
    found = {str(path.relative_to(CORE)): list(compared(path.read_text("utf-8"), kinds())) for path in sources()}
    assert {path: names for path, names in found.items() if names and path not in OTHER_NAMES} == {}
    assert all(found[path] for path in OTHER_NAMES)


def test_the_patterns_find_what_they_are_for() -> None:
    for line in (
        "if isinstance(found, Detections):",
        "all(isinstance(one, (Detections, Classification)) for one in found)",
        "wanted = {'detect': Detections,",
        "_MODULES[spec.task]",
        "TYPES.get(spec.task)",
    ):
        assert looked_at(line), line


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ('spec.task == "detect"', ["detect"]),
        ('precision in ("fp16", "bf16")', ["fp16", "bf16"]),
        ('"rtx" in names', ["rtx"]),
        ("match backend:\n case 'tensorrt': pass", ["tensorrt"]),
        ('find_spec("onnxruntime") is None', []),
    ],
)
def test_comparisons_are_found(line: str, names: list[str]) -> None:
    assert list(compared(line, kinds())) == names
