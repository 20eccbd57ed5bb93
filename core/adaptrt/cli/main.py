"""The commands ``adaptrt`` and ``convert``."""

from __future__ import annotations

import sys

import click

from adaptrt import __version__
from adaptrt.cli.boundary import run
from adaptrt.cli.framework import Entry, LazyGroup

_MODELS, _SETUP, _AUTHORS = "Models", "This installation", "For authors of plugins"

COMMANDS = {
    "convert": Entry("adaptrt.cli.convert:convert", "Convert a model and prove the result.", _MODELS),
    "build": Entry("adaptrt.cli.build:build", "Build an engine from any ONNX file.", _MODELS),
    "predict": Entry("adaptrt.cli.predict:predict", "Detect or classify with a converted model.", _MODELS),
    "evaluate": Entry("adaptrt.cli.evaluate:evaluate", "Score converted models on labeled images.", _MODELS),
    "inspect": Entry("adaptrt.cli.inspect_model:inspect_model", "Show what a model file holds.", _MODELS),
    "lint": Entry("adaptrt.cli.lint:lint", "Hold a graph against the rules for TensorRT.", _MODELS),
    "engine": Entry("adaptrt.cli.engine:engine", "Take Ultralytics' header off an engine, or put it on.", _MODELS),
    "adapters": Entry("adaptrt.cli.adapters:adapters", "List the frameworks that can be converted.", _SETUP),
    "plugins": Entry("adaptrt.cli.plugins:plugins", "List the plugins that take part, and their hooks.", _SETUP),
    "cache": Entry("adaptrt.cli.cache:cache", "List or remove what is kept for the next time.", _SETUP),
    "doctor": Entry("adaptrt.cli.doctor:doctor", "Check versions, and say what is missing.", _SETUP),
    "new-adapter": Entry("adaptrt.cli.new_adapter:new_adapter", "Write an adapter to start from.", _AUTHORS),
}


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"adaptrt {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    no_args_is_help=False,
    epilog="Start with: adaptrt convert --adapter yolov5 best.pt --image street.jpg",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Turn a PyTorch vision model of any framework into a verified ONNX file and TensorRT engine."""


def main() -> int:
    """The console script ``adaptrt``."""
    return run(cli, sys.argv[1:] or ["--help"], "adaptrt")


def convert() -> int:
    """The console script ``convert``: the command of that name on its own."""
    from adaptrt.cli.convert import convert as command

    return run(command, sys.argv[1:] or ["--help"], "convert")
