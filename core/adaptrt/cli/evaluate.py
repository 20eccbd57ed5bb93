"""``adaptrt evaluate``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from adaptrt.cli.framework import Command, arguments, general_options, option
from adaptrt.cli.output import echo
from adaptrt.cli.predict import _known_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptrt.evaluation.subjects import Subject

MODEL, DATA = "Models", "Images and results"

EXAMPLES = (
    ("adaptrt evaluate best.onnx --data val/", "top-1 and top-5; val/ holds a folder for each class"),
    (
        "adaptrt evaluate best.onnx --data val/ --backend eager,onnxruntime --adapter swin --source best.pth",
        "next to the model it was converted from",
    ),
    (
        "adaptrt evaluate best.onnx best.engine --data val/ --max-loss 0.1",
        "fail if the engine loses more than 0.1 points",
    ),
    (
        "adaptrt evaluate detr.onnx --data instances.json --images images/ --show-dir out/",
        "a detector: mAP; boxes drawn",
    ),
)


@click.command("evaluate", cls=Command, examples=EXAMPLES)
@click.argument("files", metavar="FILES...", nargs=-1, required=True)
@option("--backend", "backends", metavar="NAMES", section=MODEL, help="eager, onnxruntime, tensorrt or another backend: what to compare, the first is the baseline.  [default: what the files are]")  # fmt: skip
@option("-s", "--set", "pairs", metavar="KEY=VALUE", multiple=True, section=MODEL, help="A parameter of the decoder; for eager, an option of the adapter too.")  # fmt: skip
@option("--device", metavar="NAME", section=MODEL, callback=_known_device, help="cpu or cuda:0, for ONNX files.  [default: cpu]")  # fmt: skip
@option("--adapter", metavar="NAME", section=MODEL, help="For eager: the adapter that the file was converted with.")
@option("--source", metavar="SOURCE", section=MODEL, help="For eager: what was converted, as `convert` takes it.")
@option("--weights", metavar="PATH", section=MODEL, help="For eager: the weights, as `convert` takes them.")
@option("--trust-checkpoint", is_flag=True, section=MODEL, help="For eager: let its framework load the checkpoint, which may run code in it.")  # fmt: skip
@option("--allow-host-code", is_flag=True, section=MODEL, help="Load an engine that carries code for the host.")
@option("--plugin-lib", "plugin_libs", metavar="LIB", multiple=True, section=MODEL, help="Library of TensorRT plugins.")
@option("--ort-custom-ops", metavar="LIB", multiple=True, section=MODEL, help="Library of custom operators for ONNX Runtime.")  # fmt: skip
@option("--plugins", "plugins_file", metavar="FILE", section=MODEL, help="A plugins.toml; its modules are loaded.")
@option("--data", metavar="PATH", required=True, section=DATA, help="classify: a folder with a folder of images for each class. detect: COCO annotations (.json). semantic: a folder with images/ and masks/.")  # fmt: skip
@option("--images", metavar="DIR", section=DATA, help="The folder of the images, for detect and semantic.  [default: images/ beside the annotations]")  # fmt: skip
@option("--batch", type=int, metavar="N", section=DATA, help="Images at a time.  [default: the model's optimum]")
@option("--limit", type=int, metavar="N", section=DATA, help="At most so many images, spread over the data.")
@option("--max-loss", type=float, metavar="POINTS", section=DATA, help="Fail if a score lies further below that of the first.")  # fmt: skip
@option("--score-thr", type=click.FloatRange(0, 1), metavar="SCORE", section=DATA, help="Boxes at or below this score are ignored.  [default: 0.001, and 0.3 in images]")  # fmt: skip
@option("--show-dir", metavar="DIR", section=DATA, help="Write each image with what was found in it, a folder for each backend.")  # fmt: skip
@option("--format-only", metavar="FILE", section=DATA, help="Write the predictions (detect: COCO results) without scores.")  # fmt: skip
@general_options
def evaluate(
    *,
    files: tuple[str, ...],
    backends: str | None,
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
    """How well FILES do on labeled images, side by side.

    All backends see the same images in the same batches. `eager` is the model that a file was converted from: name it
    with `--adapter` and `--source`. The report beside the file is data; nothing that it names is loaded.
    """
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.errors import VerificationError
    from adaptrt.evaluation.files import Drawer, ResultsFile
    from adaptrt.evaluation.request import EvaluationRequest
    from adaptrt.evaluation.run import run_evaluation
    from adaptrt.evaluation.subjects import choose_subjects
    from adaptrt.options import parse_pairs
    from adaptrt.pipeline.reference import origin_missing
    from adaptrt.rendering.evaluations import evaluation_data, evaluation_lines

    params = dict(parse_pairs(pairs))
    if score_thr is not None:
        params.setdefault("conf", str(score_thr))
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
    with redirect_stdout_to_stderr(verbose), _Bars(quiet=quiet or as_json) as bars:
        evaluation = run_evaluation(request, on_progress=bars, on_prediction=drawer, on_records=results)
    written = [str(path) for output in outputs for path in output.written]
    if as_json:
        echo_json({**evaluation_data(evaluation), "written": written})
    elif not quiet:
        echo("\n".join([*evaluation_lines(evaluation), *(f"Written: {path}" for path in written)]))
    for name, loss in evaluation.losses().items():
        if max_loss is not None and loss > max_loss:
            raise VerificationError(
                f"{name} loses {loss:.2f} points, at most {max_loss:g} are accepted.",
                hint="Where the loss comes in: adaptrt convert --verify full, and the links of its report.",
            )


def _require_comparison(max_loss: float, subjects: list[Subject], *, counted: bool) -> None:
    """Refuse a ``--max-loss`` that nothing can exceed: who asks for it relies on it."""
    from adaptrt.errors import UsageError

    if math.isnan(max_loss):
        raise UsageError("--max-loss nan is no number of points.", hint="For example: --max-loss 0.1")
    if not counted:
        raise UsageError("--max-loss needs scores, and --format-only counts nothing.", hint="Leave one of them out.")
    if len(subjects) < 2:
        only = f"{subjects[0].backend} {subjects[0].path.name}"
        raise UsageError(
            f"--max-loss compares, and there is only {only}.",
            hint="Give two files, or for example: --backend eager,onnxruntime",
        )


def _names(backends: str | None) -> list[str]:
    return [name.strip() for name in (backends or "").split(",") if name.strip()]


class _Bars:
    """A bar for each backend on a terminal; nothing elsewhere."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._update: Callable[[str, int, int], None] | None = None

    def __enter__(self) -> _Bars:
        if not self._quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            from adaptrt.rendering.terminal import stderr_console

            console = stderr_console()
            if console.is_terminal:
                self._progress = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                )
                self._progress.start()
                tasks = {}

                def update(title: str, done: int, total: int) -> None:
                    if title not in tasks:
                        tasks[title] = self._progress.add_task(title, total=total)
                    self._progress.update(tasks[title], completed=done)

                self._update = update
        return self

    def __exit__(self, *_: object) -> None:
        if self._update is not None:
            self._progress.stop()

    def __call__(self, title: str, done: int, total: int) -> None:
        if self._update is not None:
            self._update(title, done, total)
