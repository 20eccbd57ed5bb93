"""``adaptrt predict``."""

from __future__ import annotations

import re
from pathlib import Path
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
    ("adaptrt predict best.onnx 'clips/**/*.png' --json > found.json", "as data; nothing is drawn"),
    ("adaptrt predict best.onnx photos/ --save txt", "a label file for each image too"),
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
@option("--save", "formats", metavar="FORMAT", multiple=True, section=RESULTS, help="Also write the predictions into the folder FORMAT: json, csv, coco, txt (YOLO), png (class maps), npz; which ones depends on the task.")  # fmt: skip
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
    formats: tuple[str, ...],
    verbose: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Run a FILE that adaptrt wrote on IMAGES (files, folders, patterns).

    Neither torch nor an adapter is needed: the file says how images go in and predictions come out. With --json
    images are drawn only if -o says where.
    """
    from adaptrt.api import load
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.cli.results import (
        Result,
        describe_result,
        export_results,
        find_targets,
        folder_of,
        predict_each,
        require_formats,
    )
    from adaptrt.errors import ImageError
    from adaptrt.options import parse_pairs
    from adaptrt.specs import task_named

    params = parse_pairs(pairs)
    targets = find_targets(images, output or (None if as_json else "predictions"))
    records: list[dict[str, Any]] = []
    failed: list[ImageError] = []
    kept: list[Result] = []
    written: list[Path] = []
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
        task = task_named(opened.spec.task)
        require_formats(task, formats)
        for warning in opened.warnings:
            echo(f"Warning: {warning}", err=True)
        for image, result in predict_each(opened, targets, params):
            if isinstance(result, ImageError):
                failed.append(result)
                if len(targets) > 1:
                    echo(f"Left out: {result.message}", err=True)
                    records.append({"path": str(image.path), "error": result.message})
                continue
            if formats:
                kept.append(result)
            if as_json:
                records.append(result.as_data())
            elif not quiet:
                echo(describe_result(result))
    for name in formats if kept else ():
        written += export_results(task, name, kept, folder_of(output))
    if failed and len(targets) == 1:
        raise failed[0]
    if as_json:
        echo_json(
            {"model": model, "images": records, **({"written": [str(path) for path in written]} if formats else {})}
        )
    elif written and not quiet:
        echo(f"Written: {', '.join(str(path) for path in written[:3])}{' ...' if len(written) > 3 else ''}")
    if failed:
        echo(f"{len(failed)} of {len(targets)} images could not be read.", err=True)
        ctx.exit(ImageError.exit_code)
