"""``adaptrt evaluate``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adaptrt.cli.adopt import adoption_flags, adoption_of
from adaptrt.cli.decoder_flags import decoder_flags, decoder_params
from adaptrt.cli.framework import Command, FileArgument, general_options, option
from adaptrt.cli.given import arguments
from adaptrt.cli.inside_flags import opening_from_flags
from adaptrt.cli.output import echo
from adaptrt.cli.shared_flags import BACKENDS_DEVICE, device_flag, library_flags, plugins_flag

if TYPE_CHECKING:
    from adaptrt.evaluation.request import EvaluationRequest
    from adaptrt.evaluation.subjects import Subject

_AS_GIVEN = ("batch", "limit", "adapter", "source", "trust_checkpoint")

MODEL, DATA = "Models", "Images and results"

EXAMPLES = (
    ("adaptrt evaluate best.onnx --data val/", "top-1 and top-5; val/ contains one folder per class"),
    (
        "adaptrt evaluate best.onnx --data val/ --backend eager,onnxruntime --adapter swin --source best.pth",
        "compared with the original model",
    ),
    (
        "adaptrt evaluate best.onnx best.engine --data val/ --max-loss 0.1",
        "fail if the engine loses more than 0.1 points",
    ),
    (
        "adaptrt evaluate detr.onnx --data instances.json --images images/ --show-dir out/",
        "a detector: mAP, with boxes drawn",
    ),
)


def _layouts() -> str:
    """What ``--data`` names, for each task that can be evaluated."""
    from adaptrt.specs.tasks import TASKS

    return " ".join(f"{task.name}: {task.scoring.layout}." for task in TASKS.all() if task.scoring is not None)


@click.command("evaluate", cls=Command, examples=EXAMPLES)
@click.argument("files", cls=FileArgument, metavar="FILES...", nargs=-1, required=True)
@option("--backend", "backends", metavar="NAMES", section=MODEL, help="Backends to compare: eager, onnxruntime, tensorrt or another one; the first is the baseline.  [default: those of the files]")  # fmt: skip
@decoder_flags(MODEL)
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=MODEL, help="A parameter of the decoder; for eager, also an option of the adapter.")  # fmt: skip
@device_flag(MODEL, BACKENDS_DEVICE)
@option("--adapter", metavar="NAME", section=MODEL, help="For eager: the adapter used for the conversion.")
@option("--source", metavar="SOURCE", section=MODEL, help="For eager: the source, as for `convert`.")
@option("--weights", metavar="PATH", section=MODEL, help="For eager: the weights, as for `convert`.")
@option("--trust-checkpoint", is_flag=True, section=MODEL, help="For eager: let the framework unpickle the checkpoint, which can run code contained in it.")  # fmt: skip
@library_flags(MODEL)
@plugins_flag(MODEL)
@adoption_flags
@option("--data", metavar="PATH", required=True, section=DATA, help=_layouts)
@option("--images", metavar="DIR", section=DATA, help="The folder of the images, for layouts that have them elsewhere.  [default: beside the annotations]")  # fmt: skip
@option("--batch", type=int, metavar="N", section=DATA, help="Batch size.  [default: the model's opt size]")
@option("--limit", type=int, metavar="N", section=DATA, help="Maximum number of images, spread over the data.")
@option("--max-loss", type=float, metavar="POINTS", section=DATA, help="Fail if a score is more than this far below the baseline.")  # fmt: skip
@option("--score-thr", type=click.FloatRange(0, 1), metavar="SCORE", section=DATA, help="Boxes at or below this score are ignored.  [default: 0.001, and 0.3 in images]")  # fmt: skip
@option("--show-dir", metavar="DIR", section=DATA, help="Write each image with its predictions drawn, one folder per backend.")  # fmt: skip
@option("--format-only", metavar="FILE", section=DATA, help="Write the predictions in the exchange format of the task, such as COCO results, without computing metrics.")  # fmt: skip
@general_options
def evaluate(*, verbose: int, quiet: bool, as_json: bool, **flags: Any) -> None:
    """Score FILES on labeled images, side by side.

    All backends get the same images in the same batches. `eager` is the model that a file was converted from: specify
    it with `--adapter` and `--source`. The report next to the file is data; nothing that it names is loaded.
    """
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.cli.progress import Bars
    from adaptrt.errors import VerificationError
    from adaptrt.evaluation.files import Drawer, ResultsFile
    from adaptrt.evaluation.run import run_evaluation
    from adaptrt.evaluation.subjects import choose_subjects
    from adaptrt.pipeline.reference import origin_missing
    from adaptrt.rendering.evaluations import evaluation_data, evaluation_lines

    request = evaluation_request_from_flags(flags)
    subjects = choose_subjects(request.files, request.backends)
    for subject in subjects:
        if subject.backend == "eager" and (request.adapter is None or request.source is None):
            context = click.get_current_context()
            raise origin_missing(subject.path, [*context.command_path.split(), *arguments(context)])
    max_loss, threshold = flags["max_loss"], flags["score_thr"]
    if max_loss is not None:
        _require_comparison(max_loss, subjects, counted=request.score)
    drawer = Drawer(Path(flags["show_dir"]), 0.3 if threshold is None else threshold) if flags["show_dir"] else None
    results = None
    if flags["format_only"]:
        inputs = (*request.files, request.data, *([request.images] if request.images else []))
        results = ResultsFile(Path(flags["format_only"]), len(subjects) > 1, inputs)
    outputs = [output for output in (drawer, results) if output is not None]
    for output in outputs:
        output.prepare()
    with redirect_stdout_to_stderr(verbose), Bars(quiet=quiet or as_json) as bars:
        evaluation = run_evaluation(request, on_progress=bars, on_prediction=drawer, on_records=results)
    written = [str(path) for output in outputs for path in output.written]
    if as_json:
        echo_json({**evaluation_data(evaluation), "written": written})
    elif not quiet:
        echo("\n".join([*evaluation_lines(evaluation), *(f"Written: {path}" for path in written)]))
    for name, loss in evaluation.losses().items():
        if max_loss is not None and loss > max_loss:
            raise VerificationError(
                f"{name} loses {loss:.2f} points; at most {max_loss:g} are allowed.",
                hint="To locate the loss, run adaptrt convert --verify full and check the links in its report.",
            )


def evaluation_request_from_flags(flags: Mapping[str, Any]) -> EvaluationRequest:
    from adaptrt.errors import UsageError
    from adaptrt.evaluation.request import EvaluationRequest

    params, threshold = decoder_params(flags["pairs"], flags), flags["score_thr"]
    if threshold is not None and params.setdefault("conf", str(threshold)) != str(threshold):
        raise UsageError(f"--score-thr {threshold} and --conf {params['conf']} conflict.", hint="Specify one of them.")
    return EvaluationRequest(
        files=tuple(map(Path, flags["files"])),
        data=Path(flags["data"]),
        images=Path(flags["images"]) if flags["images"] else None,
        backends=tuple(_names(flags["backends"])),
        params=params,
        adoption=adoption_of(flags["decoder"], flags["imgsz"], flags["names"]),
        weights=Path(flags["weights"]) if flags["weights"] else None,
        options=opening_from_flags(flags),
        plugins_file=Path(flags["plugins_file"]) if flags["plugins_file"] else None,
        score=not flags["format_only"],
        **{name: flags[name] for name in _AS_GIVEN},
    )


def _require_comparison(max_loss: float, subjects: list[Subject], *, counted: bool) -> None:
    """Reject a ``--max-loss`` that can never fail, since the user relies on it."""
    from adaptrt.errors import UsageError

    if math.isnan(max_loss):
        raise UsageError("--max-loss nan is not a valid number of points.", hint="For example: --max-loss 0.1")
    if not counted:
        raise UsageError(
            "--max-loss requires scores, but --format-only does not compute any.", hint="Omit one of them."
        )
    if len(subjects) < 2:
        only = f"{subjects[0].backend} {subjects[0].path.name}"
        raise UsageError(
            f"--max-loss requires two results to compare; got only {only}.",
            hint="Pass two files, or for example: --backend eager,onnxruntime",
        )


def _names(backends: str | None) -> list[str]:
    return [name.strip() for name in (backends or "").split(",") if name.strip()]
