"""Checks what a command printed with ``--json`` against the schema of that command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema

from adaptrt.cli.json_output import OUTPUTS, JsonOutput


@cache
def schema(name: str) -> dict[str, Any]:
    """As committed; by the name of its file."""
    loaded: dict[str, Any] = json.loads((files("adaptrt") / f"schemas/{name}.json").read_text(encoding="utf-8"))
    return loaded


@cache
def validator(name: str, *, closed: bool) -> Any:
    """``closed``: keys that the schema does not name are errors."""
    found = schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    return jsonschema.Draft202012Validator(_closed(found) if closed else found)


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _closed(one) for key, one in node.items()}
    if node.get("type") == "object" and "properties" in node:
        made.setdefault("additionalProperties", False)
    return made


def output_of(words: Sequence[str]) -> JsonOutput:
    """The entry of a command line: the longest command, with the most specific options."""
    plain = [word for word in words if word.isprintable()]
    fitting = [
        one
        for one in OUTPUTS
        if one.command and plain[: len(one.command.split())] == one.command.split()
        and (not one.when or one.when.split()[0] in plain)
        and (one.schema != "inspect-drawing" or {"svg", "html"} & {*plain})
    ]  # fmt: skip
    assert fitting, f"no schema for {' '.join(words)}"
    return max(fitting, key=lambda one: (len(one.command), len(one.when)))


def require_documented(words: Sequence[str], text: str, *, closed: bool = True) -> None:
    """An ``AssertionError`` names what in the output its schema does not allow."""
    for line in [text] if text.startswith("{\n") else text.splitlines():
        content = json.loads(line)
        failed = content.get("status") == "failed" and "error" in content
        name = "error" if failed else output_of(words).name
        problems = list(validator(name, closed=closed and not failed).iter_errors(content))
        assert not problems, f"{name}.json: {problems[0].json_path}: {problems[0].message}"
