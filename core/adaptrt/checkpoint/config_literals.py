"""The literals and definitions of Python source text, read without executing it."""

from __future__ import annotations

import ast
from typing import Any

from adaptrt.errors import CheckpointError
from adaptrt.literals import NotLiteralError, evaluate

MAX_CHARACTERS = 300_000  # ten times the longest config of mmdet; as a syntax tree up to 220 MB


def config_literals(text: str, hint: str) -> dict[str, Any]:
    """The assignments of a config that is only literals and ``dict(...)``, as mmengine stores it in a checkpoint.

    Anything else is a ``CheckpointError`` that names the line that would have to be executed, with this hint.
    """
    if len(text) > MAX_CHARACTERS:
        raise CheckpointError(f"The config in the checkpoint is too large: {len(text)} characters.", hint=hint)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"The config in the checkpoint cannot be parsed: {error}.", hint=hint) from error
    values: dict[str, Any] = {}
    for statement in tree.body:
        match statement:
            case ast.Expr(value=ast.Constant()):  # a docstring
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                try:
                    values[name] = evaluate(value)
                except NotLiteralError as error:
                    raise _contains_code(error.node, hint) from error
            case _:
                raise _contains_code(statement, hint)
    return values


def python_literals(text: str) -> dict[str, Any]:
    """The names that a Python text assigns literals to (also ``dict(...)``), with the values; other names are omitted.

    In a dict, entries whose value is not a literal are omitted. Empty for text that cannot be parsed.
    """
    values: dict[str, Any] = {}
    for statement in _statements(text):
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            values[name] = evaluate(value, lenient=True)
        except (NotLiteralError, RecursionError):
            values.pop(name, None)
    return values


def python_definitions(text: str) -> tuple[str, ...]:
    """The public functions and classes at the top level, in order."""
    return tuple(
        statement.name
        for statement in _statements(text)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)) and not statement.name.startswith("_")
    )


def _statements(text: str) -> list[ast.stmt]:
    if len(text) > MAX_CHARACTERS:
        return []
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _contains_code(node: ast.stmt | ast.expr, hint: str) -> CheckpointError:
    try:
        source = ast.unparse(node).partition("\n")[0]
    except RecursionError:
        source = f"a deeply nested {type(node).__name__}"
    shown = source if len(source) <= 80 else source[:77] + "..."
    return CheckpointError(f"The config in the checkpoint contains code, on line {node.lineno}: {shown}", hint=hint)
