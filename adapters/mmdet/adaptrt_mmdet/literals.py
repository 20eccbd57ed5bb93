"""Reads a configuration as source text without executing it: assignments of literals, and ``dict(...)``.

This is what mmengine writes into a checkpoint's metadata (``Config.pretty_text``).
"""

from __future__ import annotations

import ast
from typing import Any

from adaptrt import CheckpointError

MAX_CHARACTERS = 300_000  # ten times the longest of mmdet's own; as a syntax tree up to 220 MB
HINT = (
    "If you trust it, pass the config as a file (adaptrt convert --adapter ... my_config.py --weights FILE), "
    "or run the one in the checkpoint with --trust-checkpoint."
)


def read_literals(text: str) -> dict[str, Any]:
    """The assignments of a configuration text, by name; a ``CheckpointError`` names what would have to be executed."""
    if len(text) > MAX_CHARACTERS:
        raise CheckpointError(f"The config in the checkpoint is too large: {len(text)} characters.", hint=HINT)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"The config in the checkpoint cannot be parsed: {error}.", hint=HINT) from error
    values: dict[str, Any] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not (
            isinstance(statement, ast.Assign)
            and len(statement.targets) == 1
            and isinstance(statement.targets[0], ast.Name)
        ):
            raise _refused(statement)
        values[statement.targets[0].id] = _value(statement.value)
    return values


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Set(elts=items):
            return {_hashable(item) for item in items}
        case ast.Dict(keys=keys, values=values):
            if any(key is None for key in keys):
                raise _refused(node)
            return {_hashable(key): _value(value) for key, value in zip(keys, values, strict=True) if key is not None}
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            number = _value(operand)
            if isinstance(number, (int, float)):
                return -number
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(word.arg for word in keywords):
            return {str(word.arg): _value(word.value) for word in keywords}
        case ast.Name(id="inf" | "nan" as name):  # how a float prints
            return float(name)
    raise _refused(node)


def _hashable(node: ast.expr) -> Any:
    value = _value(node)
    try:
        hash(value)
    except TypeError:
        raise _refused(node) from None
    return value


def _refused(node: ast.stmt | ast.expr) -> CheckpointError:
    try:
        source = ast.unparse(node).partition("\n")[0]
    except RecursionError:
        source = f"a deeply nested {type(node).__name__}"
    shown = source if len(source) <= 80 else source[:77] + "..."
    return CheckpointError(f"The config in the checkpoint contains code, on line {node.lineno}: {shown}", hint=HINT)
