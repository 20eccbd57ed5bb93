"""``adaptrt new-backend``."""

from __future__ import annotations

import click

from adaptrt.cli.framework import Command, general_options
from adaptrt.cli.scaffold import output_option, show_package, write_package

EXAMPLES = (
    ("adaptrt new-backend myruntime", "create a working package in adaptrt-myruntime/"),
    ("adaptrt new-backend myruntime -o plugins/myruntime", "choose another folder"),
)


@click.command("new-backend", cls=Command, examples=EXAMPLES)
@click.argument("name")
@output_option
@general_options
def new_backend(name: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:  # noqa: ARG001
    """Write a small, complete backend NAME, a runtime that files are built for: a package with an entry point, a test of the contract
    and a README."""
    folder, files = write_package("backend", name, output, {"backend.py.j2": "{package}/backend.py"})
    commands = [
        f"pip install -e {folder} pytest",
        f"adaptrt convert --adapter torch MODULE:CALLABLE --shape images=1x3x64x64 --to onnx,{name}",
        f"pytest {folder}",
    ]
    show_package(files, commands, quiet=quiet, as_json=as_json)
