"""Evaluates Python literals in text. Nothing is executed."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

MAX_CHARACTERS = 1 << 20  # of a single literal: the class names of the largest data sets fit


class NotLiteralError(ValueError):
    """An expression that is not a literal; ``node`` is the part that would have to be executed."""

    def __init__(self, node: ast.expr) -> None:
        super().__init__(f"not a literal: {type(node).__name__}")
        self.node = node


def literal_value(text: str) -> Any:
    """The value of a text that is one literal, such as ``[640, 640]``; a ``ValueError`` for any other text."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"longer than {MAX_CHARACTERS} characters")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as error:  # deep nesting overflows the parser
        raise ValueError("not a Python expression") from error
    if isinstance(node, ast.Name):  # a word: here inf and nan are text
        raise NotLiteralError(node)
    return evaluate(node)


def evaluate(node: ast.expr, *, lenient: bool = False) -> Any:
    """The value of a literal, of ``dict(key=literal)``, and of ``inf`` and ``nan``, as a float is printed.

    Raises ``NotLiteralError`` for anything else. With ``lenient``, dict entries that are not literals are omitted.
    """
    match node:
        case ast.Constant(value=value):
            return value
        case ast.List(elts=items):
            return [evaluate(item, lenient=lenient) for item in items]
        case ast.Tuple(elts=items):
            return tuple(evaluate(item, lenient=lenient) for item in items)
        case ast.Set(elts=items):
            return {_hashable(item, lenient) for item in items}
        case ast.Dict(keys=keys, values=values) if lenient or None not in keys:
            pairs = zip(keys, values, strict=True)
            return _entries([(_hashable(key, lenient), value) for key, value in pairs if key is not None], lenient)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words) if lenient or all(word.arg for word in words):
            return _entries([(word.arg, word.value) for word in words if word.arg is not None], lenient)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() | ast.Name() as operand):
            number = evaluate(operand)
            if isinstance(number, (int, float)):
                return -number
        case ast.Name(id="inf" | "nan" as name):
            return float(name)
    raise NotLiteralError(node)


def _hashable(node: ast.expr, lenient: bool) -> Any:
    value = evaluate(node, lenient=lenient)
    try:
        hash(value)
    except TypeError:
        raise NotLiteralError(node) from None
    return value


def _entries(entries: Iterable[tuple[Any, ast.expr]], lenient: bool) -> dict[Any, Any]:
    found = {}
    for key, node in entries:
        try:
            found[key] = evaluate(node, lenient=lenient)
        except NotLiteralError:
            if not lenient:
                raise
    return found
