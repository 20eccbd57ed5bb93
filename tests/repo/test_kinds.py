"""Kinds are objects that are asked, not strings and types that many files compare."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest

from adaptrt import prediction_base, predictions
from adaptrt.specs.backends import BACKENDS, all_targets
from adaptrt.specs.precisions import PRECISIONS
from adaptrt.specs.tasks import TASKS

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "adaptrt"
PREDICTIONS = "|".join(
    name
    for module in (predictions, prediction_base)
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and kind.__module__ == module.__name__ and kind is not predictions.ImageMeta
)
LOOKED_AT = {
    "isinstance over prediction types": rf"isinstance\([^)]*\b(?:{PREDICTIONS})\b",
    "prediction types as keys or in match": rf"\bcase (?:{PREDICTIONS})\(|: (?:{PREDICTIONS})[,}}]\s*$",
    "a table by task": r"\[\w*\.?spec\.task\]|\.get\(\w*\.?spec\.task\b",
}
# files that compare a string with the name of a kind, and what that string is
OTHER_NAMES = {
    "specs/precisions/precision.py": "an element type of ONNX",
    "pipeline/adopt.py": "the task in Ultralytics' metadata",
    "report_versions.py": "a field of report files before version 2",
    "backends/tensorrt/build/precision_report.py": "a data type of TensorRT's inspector",
    "cli/yolo_lines.py": "arguments and tasks of yolo",
    "packaging/runtime.py": "names of decoders",
    "rendering/drawing.py": "colors in the style sheet; others have a common one",
}
# files outside of backends/ that have the name of a precision as data, and why
PRECISION_NAMES = {
    "api.py": "defaults of keywords",
    "cli/engine_flags.py": "a build option",
    "cli/quantize.py": "the default of the command",
    "cli/tune.py": "the default of the command",
    "cli/yolo_lines.py": "arguments of yolo",
    "onnxfile/reader.py": "an element type of ONNX",
    "packaging/deepstream.py": "the modes of DeepStream",
    "pipeline/bench/run.py": "an element type of ONNX",
    "pipeline/layers/drawing.py": "by element types of ONNX",
    "rendering/drawing.py": "colors in the style sheet; others have a common one",
    "specs/build.py": "a build option",
}


@cache
def kinds() -> frozenset[str]:
    registered = [name for registry in (TASKS, BACKENDS, PRECISIONS) for name in registry.names()]
    return frozenset([*registered, *all_targets()])


def looked_at(text: str) -> list[str]:
    return [what for what, pattern in LOOKED_AT.items() if re.search(pattern, text, re.MULTILINE)]


@cache
def parsed(text: str) -> ast.Module:
    return ast.parse(text)


def compared(text: str, names: Collection[str]) -> Iterator[str]:
    """Strings among ``names`` that are an operand of a comparison: alone, in a tuple, list, set or dict, or in a constant of the
    module."""
    tree = parsed(text)
    constants: dict[str, ast.expr] = {}
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        constants |= {one.id: value for one in targets if isinstance(one, ast.Name) and value is not None}
    for node in ast.walk(tree):
        operands = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
        if isinstance(node, ast.MatchValue):
            operands = [node.value]
        for operand in operands:
            yield from parts_of(constants.get(operand.id, operand) if isinstance(operand, ast.Name) else operand, names)


def parts_of(operand: ast.expr, names: Collection[str]) -> Iterator[str]:
    parts: list[ast.expr | None] = [operand]
    if isinstance(operand, (ast.Tuple, ast.List, ast.Set)):
        parts = [*operand.elts]
    elif isinstance(operand, ast.Dict):
        parts = operand.keys
    for part in parts:
        if isinstance(part, ast.Constant) and part.value in names:
            yield str(part.value)


def constants_in(text: str, names: Collection[str]) -> list[str]:
    """Strings that are one of ``names``, wherever they are."""
    found = (node.value for node in ast.walk(parsed(text)) if isinstance(node, ast.Constant))
    return [str(value) for value in found if isinstance(value, str) and value in names]


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


def test_no_precision_is_written_as_a_name() -> None:
    """A precision is an object: ``FP32``, that of the request, or the ``rest`` of a quantized one."""
    inside = {CORE / "backends", CORE / "specs" / "precisions"}
    paths = [path for path in sources() if not inside & set(path.parents)]
    found = {
        str(path.relative_to(CORE)): constants_in(path.read_text("utf-8"), set(PRECISIONS.names())) for path in paths
    }
    assert {path: names for path, names in found.items() if names and path not in PRECISION_NAMES} == {}
    assert all(found[path] for path in PRECISION_NAMES)


def test_the_patterns_find_what_they_are_for() -> None:
    for line in (
        "if isinstance(found, Detections):",
        "found.task if isinstance(found, Prediction) else None",
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
        ('TUNED = ("int8", "fp16")\nif name not in TUNED: pass', ["int8", "fp16"]),
        ('COST: dict[str, float] = {"int8": 0.5}\nif name in COST: pass', ["int8"]),
    ],
)
def test_comparisons_are_found(line: str, names: list[str]) -> None:
    assert list(compared(line, kinds())) == names
