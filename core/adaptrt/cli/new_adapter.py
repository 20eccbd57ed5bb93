"""``adaptrt new-adapter``."""

from __future__ import annotations

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.scaffold import output_option, show_package, write_package

EXAMPLES = (
    ("adaptrt new-adapter mynet", "create a working package in adaptrt-mynet/"),
    ("adaptrt new-adapter mynet --task detect", "with a network that detects red and blue objects"),
    ("adaptrt new-adapter mynet -o plugins/mynet", "choose another folder"),
)


@click.command("new-adapter", cls=Command, examples=EXAMPLES)
@click.argument("name")
@option(
    "--task",
    type=click.Choice(["classify", "detect", "segment"]),
    default="classify",
    show_default=True,
    help="What the demo network predicts.",
)
@output_option
@general_options
def new_adapter(name: str, task: str, output: str | None, verbose: int, quiet: bool, as_json: bool) -> None:  # noqa: ARG001
    """Write a small, complete adapter NAME: a package with an entry point, a test of the contract and a README.

    It converts a demo network; replace that with your framework.
    """
    folder, files = write_package("adapter", name, output, {"network.py.j2": "{package}/network.py"}, task=task)
    commands = [f"pip install -e {folder} pytest", f"adaptrt convert --adapter {name} demo", f"pytest {folder}"]
    show_package(files, commands, quiet=quiet, as_json=as_json)
