"""A recipe: the precision of a model and what of it stays in a higher one, as a TOML file that ``--recipe`` repeats.

::

    precision = "int8"
    keep-fp16 = ["^/model\\\\.0(/|$)"]
    quantize-also = ["^/encoder/attention/MatMul$"]

    [found]
    loss = 0.31
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.specs.build import compile_pattern
from adaptrt.specs.precisions import precision_named
from adaptrt.toml_lines import place_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_LISTS = ("keep-fp32", "keep-fp16", "quantize-also")


@dataclass(frozen=True)
class Recipe:
    """``keep_fp32``, ``keep_fp16`` and ``quantize_also`` are patterns as for the options of these names.

    ``found`` records how the recipe was found; it changes nothing.
    """

    precision: str
    keep_fp32: tuple[str, ...] = ()
    keep_fp16: tuple[str, ...] = ()
    quantize_also: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)

    def text(self) -> str:
        lines = [f"precision = {json.dumps(self.precision)}"]
        for name in _LISTS:
            patterns = getattr(self, name.replace("-", "_"))
            if patterns:
                lines += [f"{name} = [", *(f"    {json.dumps(one)}," for one in patterns), "]"]
        if self.found:
            lines += ["", "[found]", *(f"{json.dumps(key)} = {json.dumps(one)}" for key, one in self.found.items())]
        return "\n".join(lines) + "\n"


@contextmanager
def _at(path: Path, key: str) -> Iterator[None]:
    """Put the file and the line of the key before the message of an error."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{place_of(path, key)}: {error.message}", hint=error.hint) from error


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file; a ``UsageError`` names the key that is wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{path} does not exist.", hint="adaptrt tune FILE writes a recipe.") from error
    except (OSError, UnicodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not a valid recipe: {error}.", hint="adaptrt tune FILE writes one.") from error
    known = ("precision", *_LISTS, "found")
    for name in content:
        if name not in known:
            raise UsageError(f"{place_of(path, name)}: unknown key {name!r}.", hint=did_you_mean(name, list(known)))
    precision, found = content.get("precision"), content.get("found", {})
    if not isinstance(precision, str):
        problem = "precision must be text" if "precision" in content else "the key precision is required"
        raise UsageError(f"{place_of(path, 'precision')}: {problem}.", hint='For example: precision = "int8"')
    if not isinstance(found, Mapping):
        raise UsageError(f"{place_of(path, 'found')}: found must be a table.", hint="Remove it: it changes nothing.")
    with _at(path, "precision"):
        precision_named(precision)
    patterns = {}
    for name in _LISTS:
        value = content.get(name, [])
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(
                f"{place_of(path, name)}: {name} must be a list of strings.",
                hint=f'For example: {name} = ["^/head/"]',
            )
        with _at(path, name):
            for one in value:
                compile_pattern(one, f"--{name}")
        patterns[name.replace("-", "_")] = tuple(value)
    return Recipe(precision, **patterns, found=found)
