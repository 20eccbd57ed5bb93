"""The literals and definitions of a Python file, read without executing it."""

from __future__ import annotations

import ast
from typing import Any

MAX_CHARACTERS = 300_000  # as a syntax tree up to 220 MB


class _NotLiteralError(Exception):
    """An expression that is not a literal."""


def python_literals(text: str) -> dict[str, Any]:
    """The names that a Python text assigns literals to (also ``dict(...)``), with the values; other names are omitted.

    In a dict, entries whose value is not a literal are omitted. Empty for text that cannot be parsed.
    """
    values: dict[str, Any] = {}
    for statement in _statements(text):
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                values[target.id] = _value(value)
            except (_NotLiteralError, RecursionError, TypeError):
                values.pop(target.id, None)
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


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return _known_entries([(_value(key), value) for key, value in zip(keys, values, strict=True) if key])
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
            return _known_entries([(word.arg, word.value) for word in keywords if word.arg])
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise _NotLiteralError


def _known_entries(entries: list[tuple[Any, ast.expr]]) -> dict[Any, Any]:
    found = {}
    for key, node in entries:
        try:
            found[key] = _value(node)
        except _NotLiteralError:
            continue
    return found
