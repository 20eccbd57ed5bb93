"""The commands ``adaptrt`` and ``convert``."""

from __future__ import annotations

import os
import sys

import click

from adaptrt import __version__
from adaptrt.cli.boundary import run
from adaptrt.cli.framework import FoundCommands


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        click.echo(f"adaptrt {__version__}")
        ctx.exit()


@click.group(
    cls=FoundCommands,
    no_args_is_help=False,
    epilog="Start with: adaptrt convert best.pt --image street.jpg",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def cli() -> None:
    """Turn PyTorch vision models into verified ONNX files and TensorRT engines."""


# a missing camera or a damaged file is reported once, by adaptrt; a user's own settings stay
_LIBRARY_LOGS = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}


def _silence_libraries() -> None:
    """Turn off messages that OpenCV and FFmpeg print themselves; they read the level when they are loaded."""
    for name, level in _LIBRARY_LOGS.items():
        os.environ.setdefault(name, level)


def main() -> int:
    """The console script ``adaptrt``."""
    _silence_libraries()
    return run(cli, sys.argv[1:] or ["--help"], "adaptrt")


def convert() -> int:
    """The console script ``convert``: the ``convert`` command as a separate script."""
    from adaptrt.cli.convert import convert as command

    _silence_libraries()
    return run(command, sys.argv[1:] or ["--help"], "convert")
