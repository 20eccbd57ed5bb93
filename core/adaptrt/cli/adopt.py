"""``adaptrt adopt``, and the options that describe a file from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.completion import complete_decoders
from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.output import echo
from adaptrt.cli.shared_flags import F, in_order

if TYPE_CHECKING:
    from adaptrt.specs.adoption import Adoption


FOREIGN = "Files that adaptrt did not write"

EXAMPLES = (
    ("adaptrt adopt yolo11n.onnx -o better.onnx", "a file from Ultralytics, described by its metadata"),
    (
        "adaptrt adopt end2end.onnx -o better.onnx --names coco.txt",
        "a file from MMDeploy, with pipeline.json next to it",
    ),
    ("adaptrt adopt any.onnx -o better.onnx --decoder yolo --imgsz 640 --names coco.txt", "a file without metadata"),
)


def adoption_flags(command: F) -> F:
    """``--decoder``, ``--imgsz`` and ``--names``."""
    size = option("--imgsz", metavar="SIZE", section=FOREIGN, help="Input size: 640, or 800x1216 (height x width).  [default: the file's]")  # fmt: skip
    return decoder_and_names(size(command))


def decoder_and_names(command: F) -> F:
    """``--decoder`` and ``--names``."""
    return in_order(
        option("--decoder", metavar="NAME", section=FOREIGN, shell_complete=complete_decoders, help="How to read the outputs: yolo, yolo_anchor, efficient_nms ...  [default: recognized from the file]"),
        option("--names", metavar="FILE", section=FOREIGN, help="Class names: one per line, or a JSON list."),
    )(command)  # fmt: skip


def adoption_of(decoder: str | None, imgsz: str | None, names: str | None) -> Adoption:
    from adaptrt.labels import read_labels
    from adaptrt.specs import parse_imgsz
    from adaptrt.specs.adoption import Adoption

    return Adoption(
        decoder, parse_imgsz(imgsz) if imgsz is not None else None, read_labels(names) if names is not None else ()
    )


@click.command("adopt", cls=Command, examples=EXAMPLES)
@click.argument("file", cls=FileArgument, holds="graph")
@option("-o", "--output", metavar="PATH", required=True, help="The file or folder to write.")
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, help="A parameter of the decoder: conf=0.4 ...")
@adoption_flags
@general_options
def adopt(
    *,
    file: str,
    output: str,
    pairs: tuple[str, ...],
    decoder: str | None,
    imgsz: str | None,
    names: str | None,
    verbose: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a copy of the ONNX FILE with a spec, which describes its pre- and postprocessing.

    The copy works with predict, evaluate and build like a file that adaptrt wrote. Its outputs are not verified, because
    the original model is unknown.
    """
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.options import parse_pairs
    from adaptrt.pipeline.adopt import write_adopted

    with redirect_stdout_to_stderr(verbose):
        written, spec, found = write_adopted(
            Path(file), Path(output), adoption_of(decoder, imgsz, names), parse_pairs(pairs)
        )
    assert spec.decoder is not None
    if as_json:
        echo_json(
            {
                "file": str(written),
                "decoder": spec.decoder.name,
                "from": found,
                "task": spec.task,
                "labels": len(spec.labels),
            }
        )
    elif not quiet:
        height, width = spec.image_size
        echo(
            f"{written}: decoder {spec.decoder.name} (from {found}), {len(spec.labels)} classes, images {height} x {width}"
        )
