"""``adaptrt evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.adopt import adoption_flags, adoption_of
from adaptrt.cli.decoder_flags import decoder_flags, decoder_params
from adaptrt.cli.framework import Command, FileArgument, arguments, general_options, option
from adaptrt.cli.output import echo
from adaptrt.cli.running_flags import known_device

if TYPE_CHECKING:
    from adaptrt.evaluation.subjects import Subject

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


@click.command("evaluate", cls=Command, examples=EXAMPLES)
@click.argument("files", cls=FileArgument, metavar="FILES...", nargs=-1, required=True)
@option("--backend", "backends", metavar="NAMES", section=MODEL, help="Backends to compare: eager, onnxruntime, tensorrt or another one; the first is the baseline.  [default: those of the files]")  # fmt: skip
@decoder_flags(MODEL)
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=MODEL, help="A parameter of the decoder; for eager, also an option of the adapter.")  # fmt: skip
@option("--device", metavar="NAME", section=MODEL, callback=known_device, help="cpu or cuda:0, for the files that run there.  [default: that of each backend]")  # fmt: skip
@option("--adapter", metavar="NAME", section=MODEL, help="For eager: the adapter used for the conversion.")
@option("--source", metavar="SOURCE", section=MODEL, help="For eager: the source, as for `convert`.")
@option("--weights", metavar="PATH", section=MODEL, help="For eager: the weights, as for `convert`.")
@option("--trust-checkpoint", is_flag=True, section=MODEL, help="For eager: let its framework load the checkpoint, which can run code contained in it.")  # fmt: skip
@option("--allow-host-code", is_flag=True, section=MODEL, help="Load an engine that contains host code.")
@option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=MODEL, help="Library of TensorRT plugins.")
@option("--ort-custom-ops", metavar="LIB", multiple=True, section=MODEL, help="Library of custom operators for ONNX Runtime.")  # fmt: skip
@option("--plugins", "plugins_file", metavar="FILE", section=MODEL, help="A plugins.toml; its modules are loaded.")
@adoption_flags
@option("--data", metavar="PATH", required=True, section=DATA, help="classify: a folder with one folder of images per class. detect: COCO annotations (.json), Ultralytics' data.yaml, or a PASCAL VOC folder. segment, pose: COCO annotations or data.yaml. obb: a folder with images/ and labelTxt/ (DOTA), or data.yaml. semantic: a folder with images/ and masks/.")  # fmt: skip
@option("--images", metavar="DIR", section=DATA, help="The folder of the images, for detect and semantic.  [default: images/ beside the annotations]")  # fmt: skip
@option("--batch", type=int, metavar="N", section=DATA, help="Batch size.  [default: the model's opt size]")
@option("--limit", type=int, metavar="N", section=DATA, help="Maximum number of images, spread over the data.")
@option("--max-loss", type=float, metavar="POINTS", section=DATA, help="Fail if a score is more than this far below the baseline.")  # fmt: skip
@option("--score-thr", type=click.FloatRange(0, 1), metavar="SCORE", section=DATA, help="Boxes at or below this score are ignored.  [default: 0.001, and 0.3 in images]")  # fmt: skip
@option("--show-dir", metavar="DIR", section=DATA, help="Write each image with its predictions drawn, one folder per backend.")  # fmt: skip
@option("--format-only", metavar="FILE", section=DATA, help="Write the predictions (detect: COCO results) without scores.")  # fmt: skip
@general_options
def evaluate(
    *,
    files: tuple[str, ...],
    backends: str | None,
    conf: float | None,
    iou: float | None,
    max_det: int | None,
    classes: str | None,
    pairs: tuple[str, ...],
    device: str | None,
    adapter: str | None,
    source: str | None,
    weights: str | None,
    trust_checkpoint: bool,
    allow_host_code: bool,
    plugin_libs: tuple[str, ...],
    ort_custom_ops: tuple[str, ...],
    plugins_file: str | None,
    decoder: str | None,
    imgsz: str | None,
    names: str | None,
    data: str,
    images: str | None,
    batch: int | None,
    limit: int | None,
    max_loss: float | None,
    score_thr: float | None,
    show_dir: str | None,
    format_only: str | None,
    verbose: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Score FILES on labeled images, side by side.

    All backends get the same images in the same batches. `eager` is the model that a file was converted from: specify
    it with `--adapter` and `--source`. The report next to the file is data; nothing that it names is loaded.
    """
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.cli.progress import Bars
    from adaptrt.errors import UsageError, VerificationError
    from adaptrt.evaluation.files import Drawer, ResultsFile
    from adaptrt.evaluation.request import EvaluationRequest
    from adaptrt.evaluation.run import run_evaluation
    from adaptrt.evaluation.subjects import choose_subjects
    from adaptrt.pipeline.reference import origin_missing
    from adaptrt.rendering.evaluations import evaluation_data, evaluation_lines

    params = decoder_params(pairs, {"conf": conf, "iou": iou, "max_det": max_det, "classes": classes})
    if score_thr is not None and params.setdefault("conf", str(score_thr)) != str(score_thr):
        raise UsageError(f"--score-thr {score_thr} and --conf {params['conf']} conflict.", hint="Specify one of them.")
    subjects = choose_subjects([Path(file) for file in files], _names(backends))
    for subject in subjects:
        if subject.backend == "eager" and (adapter is None or source is None):
            context = click.get_current_context()
            raise origin_missing(subject.path, [*context.command_path.split(), *arguments(context)])
    several = len(subjects) > 1
    if max_loss is not None:
        _require_comparison(max_loss, subjects, counted=format_only is None)
    drawer = Drawer(Path(show_dir), 0.3 if score_thr is None else score_thr) if show_dir else None
    results = None
    if format_only:
        inputs = tuple(map(Path, (*files, data, *([images] if images else []))))
        results = ResultsFile(Path(format_only), several, inputs)
    outputs = [output for output in (drawer, results) if output is not None]
    for output in outputs:
        output.prepare()
    request = EvaluationRequest(
        files=tuple(map(Path, files)),
        data=Path(data),
        images=Path(images) if images else None,
        backends=tuple(_names(backends)),
        batch=batch,
        limit=limit,
        params=params,
        device=device,
        adoption=adoption_of(decoder, imgsz, names),
        adapter=adapter,
        source=source,
        weights=Path(weights) if weights else None,
        trust_checkpoint=trust_checkpoint,
        allow_host_code=allow_host_code,
        plugin_libs=tuple(map(Path, plugin_libs)),
        custom_ops=tuple(map(Path, ort_custom_ops)),
        plugins_file=Path(plugins_file) if plugins_file else None,
        score=results is None,
    )
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
