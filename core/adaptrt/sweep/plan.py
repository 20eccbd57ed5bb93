"""``sweep.toml``: models, and the options to combine; from it, the conversions.

::

    [options]                       # of adaptrt convert, for every conversion
    verify = "quick"
    to = "onnx"

    [[models]]
    name = "yolov5n"
    source = "best.pt"
    adapter = "yolov5"

    [axes]                          # every combination of these values
    imgsz = [320, 640]
    precision = ["fp32", "fp16"]

    [bench]                         # of adaptrt bench: measures the files after the conversions
    batch = 1
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.toml_lines import place_of

_TABLES = ("options", "models", "axes", "bench")
RESERVED = ("output", "config")
PAGE = "index.html"
LONGEST = 200  # characters of a name, which is that of a folder
MOST = 10_000  # conversions


@dataclass(frozen=True)
class Cell:
    """A conversion. ``options``: those of ``adaptrt convert`` by name, as in a conversion file; ``values``: its place on each axis."""

    name: str
    model: str
    values: Mapping[str, str]
    options: Mapping[str, Any]


def cells_of(content: Mapping[str, Any], where: str) -> list[Cell]:
    """The conversions of a sweep file, in the order of models, then axes. ``where`` names the file in messages."""
    unknown = next((key for key in content if key not in _TABLES), None)
    if unknown is not None:
        raise UsageError(f"{place_of(where, unknown)}: unknown key {unknown!r}.", hint=did_you_mean(unknown, _TABLES))
    common, axes = _table(content, "options", where), _table(content, "axes", where)
    models = content.get("models")
    if not isinstance(models, list) or not models or not all(isinstance(model, Mapping) for model in models):
        raise UsageError(f"{where} lists no models.", hint='Add [[models]] with source = "best.pt".')
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UsageError(
                f"{place_of(where, 'axes', name)}: [axes] {name} must be a list of values.",
                hint=f'For example: {name} = ["a", "b"]',
            )
    count = len(models)
    for values in axes.values():
        count *= len(values)
    if count > MOST:
        raise UsageError(f"{where} describes {count:,} conversions; the maximum is {MOST:,}.")
    found = list(_combined(common, models, axes, where))
    names = [cell.name for cell in found]
    long = next((name for name in names if len(name) > LONGEST), None)
    if long is not None:
        raise UsageError(
            f"{where}: the name of a conversion has more than {LONGEST} characters: {long[:40]}...",
            hint="Add a short name to each of the [[models]].",
        )
    if PAGE in names:
        raise UsageError(f"{where}: {PAGE} is the page of the results.", hint="Add another name to the model.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"{where}: two conversions are named {twice!r}.", hint="Add a different name to each of the [[models]]."
        )
    return found


def _combined(
    common: Mapping[str, Any], models: Sequence[Mapping[str, Any]], axes: Mapping[str, list[Any]], where: str
) -> Iterator[Cell]:
    for model in models:
        own = {key: value for key, value in model.items() if key != "name"}
        source = own.get("source")
        if not isinstance(source, str):
            raise UsageError(f"{where}: a model has no source.", hint='Add source = "best.pt" to [[models]].')
        for options in (common, own):
            clash = next((key for key in options if key in axes), None)
            if clash is not None:
                raise UsageError(
                    f"{place_of(where, clash)}: {clash!r} is both an option and an axis.", hint="Remove one of them."
                )
        for key in RESERVED:
            if key in common or key in own or key in axes:
                raise UsageError(f"{place_of(where, key)}: {key!r} is set by the sweep.", hint=f"Remove {key}.")
        name = model.get("name", Path(source).stem or source)
        for values in itertools.product(*axes.values()):
            place = dict(zip(axes, values, strict=True))
            shown = {key: _shown(value) for key, value in place.items()}
            yield Cell(_safe("-".join([str(name), *shown.values()])), str(name), shown, {**common, **own, **place})


def _table(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, Mapping):
        raise UsageError(f"{place_of(where, name)}: {name} must be a table.", hint=f"Write [{name}].")
    return table


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _safe(text: str) -> str:
    """A name for a folder."""
    return re.sub(r"[^A-Za-z0-9_.=,-]+", "_", text).strip(".") or "model"
