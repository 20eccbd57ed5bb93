"""The values that names such as ``Resize`` and ``Unit`` in the signatures of the reference stand for."""

from __future__ import annotations

import ast
import sys
import typing
from types import ModuleType


def allowed_values(node: ast.ClassDef | ast.FunctionDef, module: str) -> list[str]:
    """Lines with the names of values in the annotations of ``node``, each with its values, and an empty one; may be empty."""
    known = {**_names(), **_choices(sys.modules[module])}
    used = {one.id for annotation in _annotations(node) for one in ast.walk(annotation) if isinstance(one, ast.Name)}
    lines = [f"- `{name}`: {', '.join(map(_quoted, known[name]))}" for name in sorted(used & known.keys())]
    return [*lines, ""] if lines else []


def _quoted(value: object) -> str:
    return f'`"{value}"`' if isinstance(value, str) else f"`{value!r}`"


def _annotations(node: ast.AST) -> list[ast.expr]:
    found = []
    for one in ast.walk(node):
        if isinstance(one, (ast.AnnAssign, ast.arg)) and one.annotation is not None:
            found.append(one.annotation)
        elif isinstance(one, ast.FunctionDef) and one.returns is not None:
            found.append(one.returns)
    return found


def _names() -> dict[str, tuple[object, ...]]:
    """The names of all modules, for those that a module imports for type checking only; without those that two modules define."""
    found: dict[str, set[tuple[object, ...]]] = {}
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "adaptrt"]:
        for name, values in _choices(module).items():
            found.setdefault(name, set()).add(values)
    return {name: one for name, (one, *others) in found.items() if not others}


def _choices(module: ModuleType) -> dict[str, tuple[object, ...]]:
    return {name: typing.get_args(value) for name, value in vars(module).items() if typing.get_origin(value) is typing.Literal}  # fmt: skip
