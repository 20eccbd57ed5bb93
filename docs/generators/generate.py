"""Generates files from the code, from plugins.toml, and from measurements: the pages of docs/reference, tables on other
pages, the image of the links, the README's table of adapters, the CI jobs, and the address of the repository. With
``--check``, it only reports which files are out of date.

python docs/generators/generate.py [--check]
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import sys
import textwrap
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import click

import adaptrt
from adaptrt import errors, hookspecs, report
from adaptrt.cli import variables
from adaptrt.cli.main import cli as command_line
from adaptrt.plugins import settings
from adaptrt.specs.decoders import decoder_names, find_decoder, is_own

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))

import adversarial  # noqa: E402
import allowed_values  # noqa: E402
import catalog  # noqa: E402
import chain_image  # noqa: E402
import json_schemas  # noqa: E402
import known_issues  # noqa: E402
import measurements  # noqa: E402
import mmdet_families  # noqa: E402
import other_tools  # noqa: E402
import parameters  # noqa: E402
import quantization  # noqa: E402
import repository  # noqa: E402
import tasks  # noqa: E402
import thread_speed  # noqa: E402
from benchmarks.detr import tables as detr_tables  # noqa: E402
from benchmarks.swin import tables as swin_tables  # noqa: E402

REFERENCE = "docs/reference/"
WIDTH = 100
MARK = "<!-- Written by `make docs` out of {source}: change it there. -->\n"


def hooks_page() -> str:
    """Every hook with its exact signature, kind, docstring, and the test that overrides it."""
    lines = [head("Hooks", "core/adaptrt/hookspecs.py"), text(hookspecs.__doc__), ""]
    lines += [
        "A plugin is a module (or any other object) with functions of these names, marked with `@adaptrt.hookimpl`. A",
        "function may omit arguments that it does not use. See [Write an adapter](../how-to/write-an-adapter.md).",
        "",
        "| hook | kind | called on |",
        "|---|---|---|",
    ]
    for function in (functions := public_functions(hookspecs)):
        lines.append(f"| [`{function.name}`](#{function.name}) | {kind_of(function)} | {asked(function)} |")
    lines += ["", "## The order", "", code(drawn_life(), "mermaid"), ""]
    lines += [
        "Each box is a stage of the report, with the hooks that it calls. `configure_builder` is called in the process that builds an",
        "engine, and therefore only if TensorRT is installed. Links 0 and 5 need an image, and call `preprocess` and `postprocess`",
        "once for each image and each form of the model. After a failure, `conversion_finished` is called immediately. The order is",
        "tested by [tests/hooks/test_order.py](../../tests/hooks/test_order.py).",
    ]
    for function in functions:
        lines += ["", f"## {function.name}", "", code(signature(function)), "", text(ast.get_docstring(function))]
        lines += [
            "",
            f"Kind: {kind_of(function)}. Test: `test_hook_{function.name}` in [tests/hooks](../../tests/hooks).",
        ]
    return "\n".join(lines) + "\n"


def drawn_life() -> str:
    """The stages of a conversion as a flowchart, each with the hooks that it calls."""
    boxes = [
        f's{number}["{"<br>".join([f"<b>{name}</b>", *hooks])}"]' for number, (name, hooks) in enumerate(hookspecs.LIFE)
    ]
    arrows = " --> ".join(f"s{number}" for number in range(len(boxes)))
    return "\n".join(["flowchart TB", *(f"    {box}" for box in boxes), f"    {arrows}"])


def kind_of(function: ast.FunctionDef) -> str:
    """First, collected, or all: pluggy marks the first kind; a hook that returns nothing calls all plugins."""
    if getattr(hookspecs, function.name).adaptrt_spec["firstresult"]:
        return "first"
    return "all" if ast.unparse(function.returns or ast.Constant(None)) == "None" else "collected"


def asked(function: ast.FunctionDef) -> str:
    return "the adapter only" if "adapter only" in (ast.get_docstring(function) or "") else "all plugins"


def cli_page() -> str:
    """The output of ``--help`` for every command."""
    lines = [
        head("Command line", "the commands' own --help"),
        "The script `convert` is an alias of `adaptrt convert`.",
        "",
        "## Environment variables",
        "",
        text(variables.__doc__),
        "",
        f"Only on the command line: {', '.join(f'`{name}`' for name in sorted(variables.TYPED_ONLY))}.",
        "",
        "Not options: `ADAPTRT_CACHE_DIR` and `ADAPTRT_CACHE_SIZE` (see [Build engines](../how-to/build-engines.md)),",
        "`ADAPTRT_TRACE_PLUGINS` (see [Wrap a stage](../how-to/wrap-a-stage.md)), and `NO_COLOR`.",
        "",
    ]
    for context in contexts("adaptrt", command_line):
        lines += [f"## {context.command_path}", "", code(context.get_help(), "text"), ""]
    return "\n".join(lines).rstrip() + "\n"


def contexts(name: str, command: click.Command, parent: click.Context | None = None) -> Iterator[click.Context]:
    """A context for the command and for each of its subcommands, as the command line creates them."""
    width = {"max_content_width": WIDTH, "terminal_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **{**command.context_settings, **width})
    yield context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from contexts(child, found, context)


def errors_page() -> str:
    """The tree from the module docstring, checked against the classes."""
    intro, _, tree = (errors.__doc__ or "").partition("::\n")
    tree = textwrap.dedent(tree).strip("\n")
    rows = []
    for kind in sorted(subclasses(errors.AdaptrtError), key=lambda kind: (kind.exit_code, kind.__mro__.index(object))):
        line = next((line for line in tree.splitlines() if f" {kind.__name__} " in f"{line} "), None)
        if line is None:
            sys.exit(f"{kind.__name__} is missing from the tree in {errors.__file__}")
        meaning = line.partition(f"{kind.__name__}")[2].strip()
        code_text, _, meaning = meaning.partition(")") if meaning.startswith("(") else ("", "", meaning)
        if code_text and int(code_text[1:]) != kind.exit_code:
            sys.exit(
                f"{kind.__name__} has exit code {kind.exit_code}, but the tree in {errors.__file__} says {code_text[1:]}"
            )
        rows.append(f"| {kind.exit_code} | `{kind.__name__}` | `{kind.__base__.__name__}` | {meaning.strip()} |")
    lines = [head("Errors and exit codes", "core/adaptrt/errors.py"), text(intro), "", code(tree, "text"), ""]
    lines += ["| exit code | error | base class | meaning |", "|---|---|---|---|", *rows, ""]
    lines += [
        "The command line prints the message, on one line, and below it the hint, and exits with the exit code; `--debug` shows the",
        "traceback. In Python, every error is an `adaptrt.AdaptrtError` with `message`, `hint`, `exit_code`, and, if a",
        "conversion failed, `report`.",
        "",
        "Exit code 1 is an internal error in adaptrt: please report it. 130 is Ctrl-C; 143 is SIGTERM; `serve` ends with 0 on both.",
        "141 is a closed pipe: the reader of standard output ended first, as in `adaptrt inspect best.onnx --graph | head`; no message is printed. Some commands print their",
        "full output and then exit with the code of an error: `lint` with 7 (`--fail-on`), `evaluate` with 9 (`--max-loss`), `bench` with 9 (`--max-regression`),",
        "`adapters --check` and `doctor` with 3, and `predict` and `batch` with 4 if an image could not be read.",
    ]
    return "\n".join(lines) + "\n"


def subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from subclasses(child)


def report_page() -> str:
    """The schema of report.json."""
    lines = [head("The report", "core/adaptrt/report.py"), text(report.__doc__), ""]
    lines += ["## The links", "", "| link | compares |", "|---|---|"]
    lines += [f"| {number} | {name} |" for number, name in report.LINKS.items()]
    return "\n".join([*lines, *described(report, first="Report")]) + "\n"


def api_page() -> str:
    """Everything that ``import adaptrt`` provides."""
    lines = [head("Python API", "core/adaptrt"), text(adaptrt.__doc__), ""]
    public = [getattr(adaptrt, name) for name in adaptrt.__all__]
    functions = [value for value in public if inspect.isfunction(value)]
    kinds = [value for value in public if inspect.isclass(value) and not issubclass(value, errors.AdaptrtError)]
    for value in [*functions, *kinds]:
        node = definition(value)
        source = signature(node) if isinstance(node, ast.FunctionDef) else outline(node)
        lines += [
            f"## {node.name}",
            "",
            code(source),
            "",
            text(ast.get_docstring(node)),
            "",
            *allowed_values.allowed_values(node, value.__module__),
        ]
    lines += [
        "## Errors",
        "",
        f"See [errors](errors.md): {', '.join(f'`{name}`' for name in adaptrt.__all__ if name.endswith('Error'))}.",
        "",
        "## hookimpl",
        "",
        "Marks a function as a hook implementation: see [hooks](hooks.md).",
    ]
    return "\n".join(lines) + "\n"


def decoders_page() -> str:
    """Core's decoders with the parameters that ``--set`` changes."""
    lines = [head("Decoders", "core/adaptrt/vision/decoders")]
    lines += [
        "The decoders that a spec can name, and the parameters that `--set key=value` changes on `convert` and `predict`.",
        "",
    ]
    for name in filter(is_own, decoder_names()):
        decoder = find_decoder(name)
        module = sys.modules[f"adaptrt.vision.decoders.{name}"]
        lines += [f"## {name}", "", text(module.__doc__), ""]
        fields = dataclasses.fields(decoder.params)
        if not fields:
            lines += ["No parameters.", ""]
            continue
        lines += [text(parameters.documented(decoder.params)), "", "| parameter | type | default |", "|---|---|---|"]
        lines += [f"| `{field.name}` | `{escaped(field.type)}` | `{field.default!r}` |" for field in fields]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def settings_page() -> str:
    """Every key of plugins.toml."""
    lines = [head("plugins.toml", "core/adaptrt/plugins/settings.py"), text(settings.__doc__), ""]
    lines += [
        "adaptrt reads the first of these files that exists:",
        "",
        "1. `--plugins FILE`",
        "2. `plugins.toml` in the current folder",
        "3. your own, `~/.config/adaptrt/plugins.toml` on Linux (or below `$XDG_CONFIG_HOME`)",
        "",
        "A file in the current folder may come from someone else. Its `modules` are code, and its `settings` can redirect where an",
        "extension sends data: both are ignored with a warning unless `--plugins` names the file.",
        "",
        "| key | type | default | |",
        "|---|---|---|---|",
    ]
    tables = {"adapters.NAME": settings.CatalogEntry, "plugins": settings.PluginChoice}
    for table, model in tables.items():
        hints = typing.get_type_hints(model)
        for field in dataclasses.fields(model):
            default = "required" if field.default is dataclasses.MISSING else f"`{field.default!r}`"
            described = field.metadata.get("description", "")
            lines.append(f"| `{table}.{field.name}` | `{type_name(hints[field.name])}` | {default} | {described} |")
    lines.append("| `settings.PLUGIN` | table | `{}` | settings of the plugin, available as `ctx.settings` |")
    return "\n".join(lines) + "\n"


def described(module: ModuleType, first: str) -> Iterator[str]:
    """Outlines of the dataclasses of a module, starting with ``first``."""
    kinds = [node for node in parse(module).body if isinstance(node, ast.ClassDef)]
    for node in sorted(kinds, key=lambda node: node.name != first):
        yield from ["", f"## {node.name}", "", code(outline(node))]
        if ast.get_docstring(node):
            yield from ["", text(ast.get_docstring(node))]
        yield from ["", *allowed_values.allowed_values(node, module.__name__)][:-1]


def outline(node: ast.ClassDef) -> str:
    """A class without method bodies: its fields and public methods."""
    body: list[str] = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_"):
            body.append(ast.unparse(item))
        elif isinstance(item, ast.FunctionDef) and (not item.name.startswith("_") or item.name == "__call__"):
            decorators = [f"@{ast.unparse(decorator)}" for decorator in item.decorator_list]
            body += [*decorators, *signature(item).splitlines()]
    bases = [ast.unparse(base) for base in node.bases]
    title = f"class {node.name}" + (f"({', '.join(bases)})" if bases else "") + ":"
    return "\n".join([title, *(f"    {line}" for line in body or ["..."])])


def signature(function: ast.FunctionDef) -> str:
    """``def name(...) -> ...``, with one argument per line if a single line is too long."""
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    line = f"def {function.name}({ast.unparse(function.args)}){returns}"
    if len(line) <= WIDTH:
        return line
    arguments = function.args
    parts = [ast.unparse(argument) for argument in arguments.args]
    first_default = len(parts) - len(arguments.defaults)
    for index, default in enumerate(arguments.defaults):
        parts[first_default + index] += f" = {ast.unparse(default)}"
    if arguments.vararg is not None:
        parts.append(f"*{ast.unparse(arguments.vararg)}")
    elif arguments.kwonlyargs:
        parts.append("*")
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(ast.unparse(argument) + (f" = {ast.unparse(value)}" if value else ""))
    return "\n".join([f"def {function.name}(", *(f"    {part}," for part in parts), f"){returns}"])


def parse(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


def public_functions(module: ModuleType) -> list[ast.FunctionDef]:
    return [node for node in parse(module).body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def definition(value: Any) -> ast.FunctionDef | ast.ClassDef:
    node = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    assert isinstance(node, (ast.FunctionDef, ast.ClassDef))
    return node


def head(title: str, source: str) -> str:
    return f"{MARK.format(source=source)}\n# {title}\n"


def text(docstring: str | None) -> str:
    """A docstring as Markdown: double backticks become single ones."""
    return inspect.cleandoc(docstring or "").replace("``", "`")


def code(source: str, language: str = "python") -> str:
    if language == "python":  # ast writes single quotes, the project double ones
        source = source if '"' in source else source.replace("'", '"')
    return f"```{language}\n{source}\n```"


def type_name(annotation: Any) -> str:
    name = str(annotation) if typing.get_origin(annotation) else annotation.__name__
    return escaped(name.replace("typing.", ""))


def escaped(cell: object) -> str:
    return str(cell).replace("|", "\\|")


PAGES: dict[str, Callable[[], str]] = {
    REFERENCE + "adapters.md": catalog.adapters_page,
    REFERENCE + "api.md": api_page,
    REFERENCE + "cli.md": cli_page,
    REFERENCE + "decoders.md": decoders_page,
    REFERENCE + "tasks.md": tasks.tasks_page,
    REFERENCE + "errors.md": errors_page,
    REFERENCE + "other-tools.md": other_tools.other_tools_page,
    REFERENCE + "hooks.md": hooks_page,
    REFERENCE + "json-output.md": json_schemas.page,
    REFERENCE + "known-issues.md": lambda: head("Known issues", known_issues.SOURCE) + known_issues.table(),
    REFERENCE + "measurements.md": measurements.measurements_page,
    REFERENCE + "mmdet-families.md": mmdet_families.families_page,
    REFERENCE + "plugins-toml.md": settings_page,
    REFERENCE + "report.md": report_page,
    "docs/explanation/detr-patches.md": detr_tables.page,
    "docs/explanation/swin-patches.md": swin_tables.page,
    "docs/explanation/what-verification-catches.md": adversarial.page,
    "docs/how-to/quantize-to-int8.md": quantization.int8_page,
    "docs/how-to/use-from-python.md": thread_speed.guide,
    "docs/images/chain.svg": chain_image.chain_image,
    "README.md": catalog.readme,
    ".github/workflows/ci.yml": catalog.workflow,
}


@click.command(help=(__doc__ or "").partition("\n\n")[0])
@click.option("--check", is_flag=True, help="Write nothing; fail if a page is out of date.")
def generate(check: bool) -> None:
    stale = []
    wanted_texts = {name: page() for name, page in {**repository.files(), **PAGES}.items()} | json_schemas.files()
    for path in json_schemas.unknown(ROOT):
        stale.append(path.name)
        if not check:
            path.unlink()
    for name, wanted in wanted_texts.items():
        path = ROOT / name
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        stale.append(name)
        if check:
            difference = difflib.unified_diff(
                found.splitlines(), wanted.splitlines(), "is", "should be", lineterm="", n=1
            )
            click.echo("\n".join(list(difference)[:20]))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted, encoding="utf-8")
    if check and stale:
        raise click.ClickException(f"{', '.join(stale)}: out of date; run `make docs`")
    click.echo(
        f"{len(wanted_texts)} generated files, {'all up to date' if not stale else 'written: ' + ', '.join(stale)}"
    )


if __name__ == "__main__":
    generate()
