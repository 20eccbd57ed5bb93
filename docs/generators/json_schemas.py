"""The JSON Schemas of what commands print with ``--json``, and of the TOML files that users write; the page that lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import msgspec

from adaptrt.cli import json_plans, json_results
from adaptrt.cli.config_file import TABLES, options_by_name
from adaptrt.cli.convert import convert
from adaptrt.cli.json_output import OUTPUTS, VERSION, JsonOutput
from adaptrt.cli.json_results import Evaluated
from adaptrt.conversion_file import NEVER, VERSIONS
from adaptrt.pipeline.bench.records import Benchmark
from adaptrt.report import Report
from adaptrt.sweep.bench import KEYS
from adaptrt.sweep.plan import RESERVED

FOLDER = "core/adaptrt/schemas/"
SOURCE = "core/adaptrt/cli/json_output.py"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
# what to_json adds to the fields
_DERIVED = {
    "BackendResult": {"images_per_second": {"type": "number"}, "runs_per_second": {"type": "number"}},
    "Row": {"limit_share": {"type": ["number", "null"]}},
    "Measured": {"drift": {"type": "number"}, "drifts": {"type": "boolean"}},
    "Comparison": {"slower": {"type": "number"}},
}


def files() -> dict[str, Any]:
    """The text of each schema, by its path."""
    made = {FOLDER + f"{one.name}.json": output_schema(one) for one in OUTPUTS}
    made[FOLDER + "conversion.toml.json"] = conversion_schema()
    made[FOLDER + "sweep.toml.json"] = sweep_schema()
    return {path: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for path, schema in made.items()}


_NUMBER: dict[str, Any] = {"type": ["number", "null"]}


def unknown(root: Path) -> list[Path]:
    """Schema files whose type no longer exists."""
    return [path for path in (root / FOLDER).glob("*.json") if FOLDER + path.name not in files()]


def output_schema(output: JsonOutput) -> dict[str, Any]:
    """Every field is printed unless its type says otherwise; a number that is infinite or NaN is ``null``."""
    (top,), components = msgspec.json.schema_components([output.kind], ref_template="#/$defs/{name}")
    if output.kind in (Benchmark, Evaluated):
        for name in {*_DERIVED} & {*components}:
            components[name]["properties"] |= _DERIVED[name]
    for name, component in components.items():
        kinds = (getattr(module, name, object) for module in (json_plans, json_results))
        if not any(issubclass(kind, msgspec.Struct) for kind in kinds):  # a dataclass prints all its fields
            component["required"] = list(component["properties"])
        _finish(component)
    body = components.pop(top["$ref"].rpartition("/")[2])
    if output.command:  # an error has the version of its report
        version = {"version": {"const": output.version}}
        body["properties"] = {**version, **body["properties"], **version}
        body["required"] = [*version, *(name for name in body["required"] if name not in version)]
    commands = [f"{one.command} {one.when}".strip() for one in OUTPUTS if one.name == output.name]
    title = " ".join(filter(None, ["adaptrt", ", ".join(commands), "" if output.lines else "--json"]))
    return {"$schema": DIALECT, **body, "title": title, **({"$defs": components} if components else {})}


def _finish(node: Any) -> None:
    """In place: defaults are for readers of input, and docstrings are text."""
    for value in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        _finish(value)
    if not isinstance(node, dict):
        return
    if isinstance(node.get("description"), str):
        node["description"] = " ".join(node["description"].replace("``", "`").split())
    if not isinstance(node.get("default"), dict):  # a field may have this name
        node.pop("default", None)
    if node.get("type") == "number" or node.get("anyOf") == [_NUMBER, {"type": "null"}]:
        node.pop("anyOf", None)
        node |= _NUMBER


def conversion_schema() -> dict[str, Any]:
    """The options of ``adaptrt convert``, as ``--config`` reads them."""
    return {
        "$schema": DIALECT,
        "title": "A conversion: adaptrt convert --config FILE",
        "type": "object",
        "properties": {**_options(), VERSIONS: _VERSIONS},
        "additionalProperties": False,
    }


def sweep_schema() -> dict[str, Any]:
    """``sweep.toml``: options of ``adaptrt convert``, models and axes."""
    known = {name: schema for name, schema in _options().items() if name not in RESERVED}
    options = {name: {"$ref": f"#/$defs/{name}"} for name in known}
    axes = {name: {"type": "array", "items": one, "minItems": 1} for name, one in options.items() if name != "source"}
    named = {"name": {"type": "string", "description": "Of its folders.  [default: that of the source]"}}
    model = {
        "type": "object",
        "properties": {**named, **options},
        "required": ["source"],
        "additionalProperties": False,
    }
    tables = {
        "options": {"type": "object", "properties": options, "additionalProperties": False, "description": "For every conversion."},
        "models": {"type": "array", "items": model, "minItems": 1, "description": "A source each, with its options."},
        "axes": {"type": "object", "properties": axes, "additionalProperties": False, "description": "Every combination of these values."},
        "bench": {"type": "object", "properties": {key: {"type": ["string", "number"]} for key in KEYS}, "additionalProperties": False, "description": "Measure latencies, with these options of adaptrt bench."},
    }  # fmt: skip
    return {
        "$schema": DIALECT,
        "title": "A sweep: adaptrt sweep FILE",
        "type": "object",
        "properties": tables,
        "required": ["models"],
        "additionalProperties": False,
        "$defs": known,
    }


_VERSIONS = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "description": "Packages that the conversion ran with; another installed version is a warning.",
}


def _options() -> dict[str, dict[str, Any]]:
    return {
        name: {**_value(name, parameter), **_described(parameter)}
        for name, parameter in options_by_name(convert).items()
        if name != NEVER
    }


def _value(name: str, parameter: click.Parameter) -> dict[str, Any]:
    if name == "set":
        return {"type": "object"}
    if name in TABLES:
        return {"type": "object", "additionalProperties": _several({"type": "string"})}
    one = _kind(parameter)
    return _several(one) if parameter.multiple else one


def _kind(parameter: click.Parameter) -> dict[str, Any]:
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return {"type": "boolean"}
    if isinstance(parameter.type, click.Choice):
        return {"enum": list(parameter.type.choices)}
    return {"type": ["string", "number"]}


def _several(one: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [one, {"type": "array", "items": one}]}


def _described(parameter: click.Parameter) -> dict[str, str]:
    text = getattr(parameter, "help", None)
    return {"description": text} if text else {}


def page() -> str:
    """The reference page: a line for each command, and how to use the schemas."""
    rows = [
        f"| `adaptrt {one.command}{f' {one.when}' if one.when else ''}` | {one.version} | {_link(one.name)} | {_keys(one)} |"
        for one in OUTPUTS
        if one.command
    ]
    return _PAGE.format(source=SOURCE, rows="\n".join(rows), error=_link("error"), version=VERSION)


def _link(name: str) -> str:
    return f"[{name}.json](../../{FOLDER}{name}.json)"


def _keys(output: JsonOutput) -> str:
    if output.kind is Report:
        return "those of [the report](report.md)"
    schema = output_schema(output)
    names = [name if name in schema["required"] else f"{name}?" for name in schema["properties"] if name != "version"]
    return ", ".join(f"`{name}`" for name in names)


_PAGE = """<!-- Written by `make docs` out of {source}: change it there. -->

# JSON output and schemas

With `--json`, a command prints one JSON object on standard output and nothing else; progress and warnings go to standard error.
`predict --stream` prints an object on each line. The keys are described by [JSON Schemas](https://json-schema.org), which are part of the package:

```console
$ python -c "from importlib.resources import files; print(files('adaptrt') / 'schemas')"
```

| command | version | schema | keys |
|---|---|---|---|
{rows}

`?`: only in some cases; the schema says when. `package` stands for each of its formats, and `inspect --graph html` also for `svg`.

- Every object has the key `version`. Within a version, keys are only added. The version is increased when a key is renamed or removed, or
  changes its meaning. That of `convert`, `build`, `quantize` and `tune` is the version of [the report](report.md).
- A number that is infinite or NaN is `null`.
- If a command fails, it prints {error} instead: `status` is `failed`, and `error` has `kind`, `message`, `hint` and `exit_code`;
  `kind` is a class of [Errors and exit codes](errors.md). After a failed conversion or build, the keys of its report are there
  too, and `version` is that of the report.
- `lint`, `compare`, `adapters --check` and `doctor` print their result in any case; the exit code shows whether something is wrong.

## Files that you write

[conversion.toml.json](../../core/adaptrt/schemas/conversion.toml.json) describes the file of
[`convert --config`](../how-to/repeat-a-conversion.md), and [sweep.toml.json](../../core/adaptrt/schemas/sweep.toml.json) that of
[`sweep`](../how-to/run-many-conversions.md). Editors with a TOML language server (such as Even Better TOML, or taplo) complete and check
the keys if the first line of the file names the schema:

```toml
#:schema ./conversion.toml.json
```

adaptrt itself checks the keys without the schema; the line is a comment.
"""
