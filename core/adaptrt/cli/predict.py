"""``adaptrt predict``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.framework import Command, general_options, option
from adaptrt.cli.output import echo

if TYPE_CHECKING:
    from adaptrt.errors import ImageError

MODEL, RESULTS = "Model", "Images and results"

EXAMPLES = (
    ("adaptrt predict best.onnx bus.jpg", "draws what it finds into predictions/bus.jpg"),
    ("adaptrt predict best.engine bus.jpg", "on the GPU"),
    ("adaptrt predict best.onnx photos/ --set conf=0.4 -o found/", "a folder, with a higher threshold"),
    ("adaptrt predict best.onnx 'clips/**/*.png' --json > found.json", "boxes as data; nothing is drawn"),
)


def _known_device(_: click.Context, __: click.Parameter, name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise click.BadParameter(f"{name!r} is no device: use cpu, cuda or cuda:0.")
    return name


@click.command("predict", cls=Command, examples=EXAMPLES)
@click.argument("model", metavar="FILE")
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True)
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=MODEL, help="A parameter of the decoder: conf=0.4, iou=0.5, top_k=3 ...")  # fmt: skip
@option(
    "--device",
    metavar="NAME",
    section=MODEL,
    callback=_known_device,
    help="cpu or cuda:0.  [default: cpu; for an engine: cuda:0]",
)
@option("--allow-host-code", is_flag=True, section=MODEL, help="Load an engine that carries code for the host.")
@option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=MODEL, help="Library of TensorRT plugins.")
@option("--ort-custom-ops", metavar="LIB", multiple=True, section=MODEL, help="Library of custom operators for ONNX Runtime.")  # fmt: skip
@option("--plugins", "plugins_file", metavar="FILE", section=MODEL, help="A plugins.toml; its modules are loaded.")
@option("-o", "--output", metavar="PATH", section=RESULTS, help="Folder for the images, or a file for a single one.  [default: predictions/]")  # fmt: skip
@general_options
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    pairs: tuple[str, ...],
    device: str | None,
    allow_host_code: bool,
    plugin_libs: tuple[str, ...],
    ort_custom_ops: tuple[str, ...],
    plugins_file: str | None,
    output: str | None,
    verbose: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Detect or classify in IMAGES (files, folders, patterns) with a FILE that adaptrt wrote.

    Neither torch nor an adapter is needed: the file says how images go in and boxes come out. With --json images
    are drawn only if -o says where.
    """
    from adaptrt.api import load
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.cli.results import describe_result, find_targets, predict_each
    from adaptrt.errors import ImageError
    from adaptrt.options import parse_pairs

    params = parse_pairs(pairs)
    targets = find_targets(images, output or (None if as_json else "predictions"))
    records: list[dict[str, Any]] = []
    failed: list[ImageError] = []
    with redirect_stdout_to_stderr(verbose):
        opened = load(
            model,
            device=device,
            custom_ops=ort_custom_ops,
            allow_host_code=allow_host_code,
            plugin_libs=plugin_libs,
            plugins_file=plugins_file,
        )
    with opened:
        for warning in opened.warnings:
            echo(f"Warning: {warning}", err=True)
        for image, result in predict_each(opened, targets, params):
            if isinstance(result, ImageError):
                failed.append(result)
                if len(targets) > 1:
                    echo(f"Left out: {result.message}", err=True)
                    records.append({"path": str(image.path), "error": result.message})
            elif as_json:
                records.append(result.as_data())
            elif not quiet:
                echo(describe_result(result))
    if failed and len(targets) == 1:
        raise failed[0]
    if as_json:
        echo_json({"model": model, "images": records})
    if failed:
        echo(f"{len(failed)} of {len(targets)} images could not be read.", err=True)
        ctx.exit(ImageError.exit_code)
