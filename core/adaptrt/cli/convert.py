"""``adaptrt convert``."""

from __future__ import annotations

from typing import Any

import click

from adaptrt.cli.completion import complete_adapters
from adaptrt.cli.config_file import use_config
from adaptrt.cli.engine_flags import build_flags, calibration_flags, not_verified, precision_flags
from adaptrt.cli.framework import Command, complete_files, general_options, option
from adaptrt.cli.given import arguments
from adaptrt.cli.shared_flags import custom_ops_flag, plugins_flag
from adaptrt.cli.tracing import traced_hooks

FILES, SHAPES, EXPORT, PROOF, PLUGINS = "Model and files", "Shapes and names", "Export", "Verification", "Plugins"
NMS = "NMS in the graph"

EXAMPLES = (
    (
        "adaptrt convert best.pt --image street.jpg",
        "best.onnx and its reports next to best.pt, every check passed",
    ),
    (
        "adaptrt convert --adapter yolov5 best.pt --imgsz 800x1216 --batch 1:8:16",
        "name the adapter; another size; batches of 1 to 16",
    ),
    (
        "adaptrt convert --adapter yolov5 best.pt --shape images=1..16@8x3x640x640 -o out/shop.onnx",
        "the same batch in shape syntax",
    ),
    ("adaptrt convert --adapter yolov5 best.pt --set conf=0.4 --dry-run", "print the plan without converting"),
)


class ConvertCommand(Command):
    """Adds to the help that the script ``convert`` is this command."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if ctx.parent is None:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text("The same as: adaptrt convert")


def not_iterating(nms: str) -> tuple[str, ...]:
    """The parameters that do not fit a kind of NMS."""
    return () if nms == "cluster" else ("nms_rounds",)


@click.command("convert", cls=ConvertCommand, examples=EXAMPLES)
@click.argument("source", shell_complete=complete_files)
@option("--config", metavar="FILE", is_eager=True, expose_value=False, callback=use_config, section=FILES, help="A TOML file of these options (-: standard input); those on the command line take precedence. The report of a conversion (best.report.json) repeats it.")  # fmt: skip
@option("--adapter", "-a", metavar="NAME", section=FILES, shell_complete=complete_adapters, help="The framework's adapter; see: adaptrt adapters.  [default: recognized from SOURCE]")  # fmt: skip
@option("--weights", "--checkpoint", metavar="FILE", section=FILES, help="Weights, if SOURCE is a configuration.")
@option("-o", "--output", metavar="PATH", section=FILES, help="File or folder to write.  [default: beside SOURCE]")
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=FILES, help="An option of the adapter or decoder.")  # fmt: skip
@option("--trust-checkpoint", is_flag=True, section=FILES, help="Let the framework unpickle the file, which can run code contained in it.")  # fmt: skip
@option("--dry-run", is_flag=True, section=FILES, help="Print the plan without loading the model. With -v: load it, and also print patches and graph passes.")  # fmt: skip
@option("--imgsz", "--img-size", metavar="SIZE", section=SHAPES, help="640, or 800x1216 (height x width).")
@option(
    "--batch", "--batch-size", metavar="N", section=SHAPES, help="4: always 4; 1:16: up to 16; 1:8:16: min:opt:max."
)
@option("--dynamic", metavar="AXES", section=SHAPES, help="Axes to make dynamic: batch, hw, batch,hw or none.")
@option("--shape", metavar="INPUT=SHAPE", multiple=True, section=SHAPES, help="images=1..16@8x3x640x640 (min..max@opt); repeat an input for another profile.")  # fmt: skip
@option("--min-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES, help="images:1x3x640x640, as in trtexec.")  # fmt: skip
@option("--opt-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES)
@option("--max-shape", metavar="INPUT:SHAPE", multiple=True, section=SHAPES)
@option("--input-names", metavar="A,B", section=SHAPES, help="Names for the inputs, in order.")
@option("--output-names", metavar="A,B", section=SHAPES, help="Names for the outputs, in order.")
@option(
    "--opset",
    type=int,
    metavar="N",
    section=EXPORT,
    help="ONNX opset.  [default: chosen by target and exporter]",
)
@option("--exporter", type=click.Choice(["auto", "dynamo", "torchscript"]), default="auto", section=EXPORT, help="Front end of torch.onnx.  [default: auto, the adapter's choice]")  # fmt: skip
@option(
    "--simplify/--no-simplify", default=True, section=EXPORT, help="Simplify the graph with onnxsim.  [default: yes]"
)
@precision_flags(EXPORT)
@option("--nms", metavar="[KIND]", is_flag=False, flag_value="cluster", section=NMS, overrules=not_iterating, help="Append NMS to the graph; place this option after SOURCE. cluster: ordinary operators, for every runtime; onnx: NonMaxSuppression; efficient: plugin EfficientNMS_TRT, for TensorRT 8 and 10.  [default: no NMS; without KIND: cluster]")  # fmt: skip
@option("--nms-rounds", type=int, metavar="N", section=NMS, help="Rounds of KIND cluster: exact for chains of up to N+1 overlapping boxes.  [default: 20]")  # fmt: skip
@option("--nms-candidates", type=int, metavar="N", section=NMS, help="Number of highest-scoring boxes that enter NMS.  [default: 1000]")  # fmt: skip
@option("--nms-schema", metavar="NAME", section=NMS, help="converged: with the output nms_converged; efficient: only the four outputs of EfficientNMS.  [default: converged]")  # fmt: skip
@option("--nms-multi-label", is_flag=True, section=NMS, help="Allow several classes per box, as for mAP evaluation.")  # fmt: skip
@option("--embed-preprocess", is_flag=True, section=EXPORT, help="Move the normalization of images into the graph; its input becomes uint8 [N, height, width, channels], RGB.")  # fmt: skip
@calibration_flags
@build_flags
@option("--verify", type=click.Choice(["full", "quick", "none"]), default="full", section=PROOF, overrules=not_verified, help="How thoroughly to verify: full runs up to nine samples of a profile, and batches for up to 30 s per link.  [default: full]")  # fmt: skip
@option("--diagnose", is_flag=True, section=PROOF, help="If ONNX Runtime or a built file differs, compare the tensors inside and name the first that differs.")  # fmt: skip
@option("--require", type=click.Choice(["verified"]), section=PROOF, help="Exit with 9, and write nothing, unless every file is verified.")  # fmt: skip
@option("--image", metavar="FILE", section=PROOF, help="A real image to trace, verify and draw on.")
@option("--test-image", metavar="FILE", section=PROOF, help="Another image to verify on.")
@custom_ops_flag(PROOF)
@plugins_flag(PLUGINS)
@option("--trace-plugins", is_flag=True, section=PLUGINS, help="Print each hook as it is called.")
@general_options
@click.pass_context
def convert(
    ctx: click.Context, /, *, dry_run: bool, trace_plugins: bool, verbose: int, quiet: bool, as_json: bool, **flags: Any
) -> None:
    """Convert SOURCE (a checkpoint, a configuration or a model name) and verify the result.

    Each form of the model is compared with the original: the framework's own predictions, the patched model, ONNX
    Runtime on single samples and batches, and the predictions for an image. No model is written unless all checks pass.
    """
    from adaptrt.cli.request import request_from_flags

    if not flags["adapter"]:
        flags["adapter"] = _recognized(flags["source"], arguments(ctx), quiet=quiet)
    script = "convert" if ctx.parent is None else "adaptrt convert"
    request = request_from_flags(flags, command=_command_line(script, arguments(ctx)), verbose=verbose)
    if trace_plugins:
        ctx.with_resource(traced_hooks())
    if dry_run:
        from adaptrt.cli.output import redirect_stdout_to_stderr
        from adaptrt.cli.plan import plan_of, print_plan

        with redirect_stdout_to_stderr(verbose):
            plan = plan_of(request, load=verbose > 0)
        if as_json:
            from adaptrt.cli.output import echo_json

            echo_json(plan)
        else:
            print_plan(plan, quiet=quiet)
        return
    from adaptrt.api import run_request
    from adaptrt.cli.run_and_show import run_and_show

    run_and_show(run_request, request, verbose=verbose, quiet=quiet, as_json=as_json)


def _recognized(source: str, words: list[str], *, quiet: bool) -> str:
    """The adapter of a source that is given without one; it is shown, with the reason."""
    from adaptrt.cli.output import echo
    from adaptrt.pipeline.recognize import recognize

    recognition = recognize(source, words)
    for warning in recognition.warnings:
        echo(f"Warning: {warning}", err=True)
    if not quiet:
        echo(f"Adapter {recognition.match.adapter}: {recognition.match.reason}", err=True)
    return recognition.match.adapter


def _command_line(script: str, words: list[str]) -> str:
    import shlex

    return f"{script} {shlex.join(words)}"
