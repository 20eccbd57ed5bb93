"""``adaptrt new-extension``."""

from __future__ import annotations

import click

from adaptrt.cli.framework import Command, general_options
from adaptrt.cli.scaffold import output_option, show_package, write_package

EXAMPLES = (
    ("adaptrt new-extension record", "create a working package in adaptrt-record/"),
    ("adaptrt new-extension record -o plugins/record", "choose another folder"),
)


@click.command("new-extension", cls=Command, examples=EXAMPLES)
@click.argument("name")
@output_option
@general_options
def new_extension(name: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:  # noqa: ARG001
    """Write a small, complete extension NAME, hooks that take part in every conversion: a package with an entry point, a test of the contract
    and a README."""
    folder, files = write_package("extension", name, output, {})
    commands = [f"pip install -e {folder} pytest", "adaptrt plugins", f"pytest {folder}"]
    show_package(files, commands, quiet=quiet, as_json=as_json)
