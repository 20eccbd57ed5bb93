"""``adaptrt predict``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from adaptrt.cli.framework import Command, FileArgument, complete_files, general_options, option
from adaptrt.cli.given import arguments
from adaptrt.cli.output import echo
from adaptrt.cli.running_flags import executor_from_flags, running_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from adaptrt.errors import ImageError
    from adaptrt.specs.executors import ImageResult

F = TypeVar("F", bound="Callable[..., Any]")

MODEL, RESULTS, STREAMS, EXECUTION = "Model", "Images and results", "Videos and streams", "Execution"

EXAMPLES = (
    ("adaptrt predict best.onnx bus.jpg", "write predictions/bus.jpg with the predictions drawn"),
    ("adaptrt predict best.engine bus.jpg", "run on the GPU"),
    (
        "adaptrt predict best.onnx photos/ --conf 0.4 --classes person,bus -o found/",
        "run on a folder, with a higher threshold and two classes",
    ),
    ("adaptrt predict best.onnx 'clips/**/*.png' --json > found.json", "print JSON; draw nothing"),
    ("adaptrt predict best.onnx clip.mp4", "write predictions/clip.mp4 with the predictions drawn"),
    (
        "adaptrt predict best.onnx 0 rtsp://camera/1 --stream",
        "two live sources in one batch; a line of JSON for each frame",
    ),
    ("adaptrt predict best.onnx photos/ --save-txt", "also write a label file for each image"),
    (
        "adaptrt predict any.onnx photos/ --decoder yolo --imgsz 640 --names coco.txt",
        "a file that adaptrt did not write",
    ),
)


class _Predict(Command):
    """Its help lists the executors by name and imports only the one that is named beside ``--help``."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from adaptrt.specs.executors import EXECUTORS

        named = _executor_in(arguments(ctx))
        with formatter.section(
            f"Executor {named}" if named else "Executors and their packages (--executor NAME --help describes one)"
        ):
            if named:
                formatter.write_dl(_description_of(named))
            else:
                formatter.write_dl(
                    [(name, EXECUTORS.distribution(name).rpartition(" ")[0]) for name in EXECUTORS.names()]
                )
        super().format_epilog(ctx, formatter)


def _executor_in(args: Sequence[str]) -> str | None:
    """The executor that a command line names."""
    for index, word in enumerate(args):
        if word.startswith("--executor="):
            return word.partition("=")[2]
        if word == "--executor" and index + 1 < len(args):
            return args[index + 1]
    return None


def _description_of(name: str) -> list[tuple[str, str]]:
    from adaptrt.errors import AdaptrtError
    from adaptrt.options import option_names
    from adaptrt.specs.executors import EXECUTORS

    try:
        executor = EXECUTORS.find(name)
    except AdaptrtError as error:
        return [(name, f"not available: {error.message}")]
    options = [("--executor-set", ", ".join(option_names(executor.options)))] if executor.options else []
    return [(name, executor.summary), *options]


SAVE_FLAGS = {
    "txt": "Short for --save txt: a label file for each image, with scores.",
    "csv": "Short for --save csv: a table of everything found.",
    "json": "Short for --save json.",
    "crop": "Short for --save crop: each object as an image.",
}
"""Ultralytics' names for ``--save FORMAT``."""


def save_flags(command: F) -> F:
    """``--save-txt`` and the like, which add to the formats of ``--save``."""
    for name, text in reversed(SAVE_FLAGS.items()):
        command = option(f"--save-{name}", is_flag=True, section=RESULTS, help=text)(command)
    return command


def _warn_of_others(folder: Path, written: Sequence[Path]) -> None:
    from adaptrt.cli.results import other_files

    others = other_files(folder, set(written))
    if others:
        from adaptrt.quantities import counted

        echo(
            f"Warning: {folder} also has {counted(len(others), 'file')} that this run did not write: {others[0].relative_to(folder)}"
            f"{' ...' if len(others) > 1 else ''}. Choose another folder with -o to keep runs apart.",
            err=True,
        )


@click.command("predict", cls=_Predict, examples=EXAMPLES)
@click.argument("model", cls=FileArgument)
@click.argument("images", metavar="SOURCES...", nargs=-1, required=True, shell_complete=complete_files)
@running_flags(MODEL)
@option("-o", "--output", metavar="PATH", section=RESULTS, help="Output folder, or file for a single image.  [default: predictions/]")  # fmt: skip
@option("--save", "formats", metavar="FORMAT", multiple=True, section=RESULTS, help="Also write the predictions, to a folder named FORMAT: json, csv, coco, txt (YOLO), crop, dota, png (class maps) or npz, depending on the task; or video.")  # fmt: skip
@save_flags
@option(
    "--stream", is_flag=True, section=STREAMS, help="Print a line of JSON for each frame as soon as it is available."
)
@option("--show", is_flag=True, section=STREAMS, help="Show each frame in a window; q or Esc ends.")
@option("--batch", type=click.IntRange(min=1), metavar="N", section=STREAMS, help="Frames per batch.  [default: one of each source]")  # fmt: skip
@option("--max-frames", type=click.IntRange(min=1), metavar="N", section=STREAMS, help="Stop after N frames.")
@option("--executor", metavar="NAME", default="local", show_default=True, section=EXECUTION, help="Where to run the model; executors are listed below.")  # fmt: skip
@option("--executor-set", "executor_pairs", metavar="KEY=VALUE", multiple=True, section=EXECUTION, help="An option of the executor.")  # fmt: skip
@general_options
@click.pass_context
def predict(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    output: str | None,
    formats: tuple[str, ...],
    stream: bool,
    show: bool,
    batch: int | None,
    max_frames: int | None,
    executor: str,
    verbose: int,
    quiet: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Run a FILE written by adaptrt on SOURCES.

    Sources are image and video files, folders, patterns, .txt lists of files, http(s) URLs of an image or video,
    s3:// URLs of images, cameras (0, 1 ...) and rtsp:// streams. For live sources, only the newest
    frame is used, and dropped frames are counted.

    All results of an image have its name, numbered if several images have the same one. Files of earlier runs with the same
    names are replaced, and others are kept; --save warns if its folder has others. Files of --save are written at the end, or when
    the run is interrupted: for long runs, see adaptrt batch.

    Neither torch nor an adapter is required: pre- and postprocessing are defined in the file. With --json, images are
    drawn only if -o is given.
    """
    from adaptrt.cli.output import echo_json, redirect_stdout_to_stderr
    from adaptrt.cli.results import (
        Result,
        describe_result,
        describe_written,
        export_results,
        find_targets,
        folder_of,
        require_formats,
        write_results,
    )
    from adaptrt.errors import ImageError, UsageError
    from adaptrt.sources.find import readable_images, warn_of_skipped
    from adaptrt.specs.executors import image_results, no_result

    formats = tuple(dict.fromkeys([*formats, *(name for name in SAVE_FLAGS if flags[f"save_{name}"])]))
    require_formats(Path(model), [name for name in formats if name != "video"])
    chosen, options = executor_from_flags(ctx.params)
    from adaptrt.cli.streams import StreamRequest, is_stream, predict_stream

    if stream or show or batch or max_frames or "video" in formats or is_stream(images):
        if executor != "local":
            raise UsageError(f"The executor {executor!r} runs still images only.", hint="Omit --executor.")
        request = StreamRequest(
            model=model,
            sources=images,
            output=output,
            formats=formats,
            stream=stream,
            show=show,
            batch=batch,
            max_frames=max_frames,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
        )
        ctx.exit(predict_stream(request, options))
    paths, missing = readable_images(images)
    warn_of_skipped(images, options.warn, videos=True)
    targets = find_targets(paths, output or (None if as_json else "predictions"))
    records: list[dict[str, Any]] = []
    failed: list[ImageError] = []
    kept: list[Result] = []
    written: list[Path] = []

    def skip(name: str, error: ImageError) -> None:
        failed.append(error)
        if len(targets) + len(missing) > 1:
            echo(f"Skipped: {error.message}", err=True)
            records.append({"path": name, "error": error.message})

    for name, error in missing.items():
        skip(name, error)

    def results() -> Generator[ImageResult, None, None]:
        """Compute each result with standard output redirected, so that the executor and its libraries cannot print there."""
        found = image_results(chosen, Path(model), [target.path for target in targets], options)
        left = len(targets)
        while True:
            with redirect_stdout_to_stderr(verbose):
                one = next(found, None)
            if one is None:
                break
            left -= 1
            yield one
        if left > 0:
            hint = "Choose another one: adaptrt predict --help lists them."
            raise no_result(chosen, left, "images", hint=hint)

    def export() -> None:
        for name in formats if kept else ():
            exported = export_results(kept[0].task, name, kept, folder_of(output))
            written.extend(exported)
            _warn_of_others(folder_of(output) / name, exported)

    try:
        with contextlib.closing(results()) as found:
            for image, result in write_results(found, targets, formats):
                if isinstance(result, ImageError):
                    skip(str(image.path), result)
                    continue
                if formats:
                    kept.append(result)
                if as_json:
                    records.append(result.as_data())
                elif not quiet:
                    echo(describe_result(result))
    except BaseException:  # Ctrl-C, or an error that ends the command: hours may have been spent
        with contextlib.suppress(Exception):
            export()
            if written:
                echo(f"{len(kept)} of {len(targets)} images. {describe_written(written)}", err=True)
        raise
    export()
    if failed and len(targets) + len(missing) == 1:
        raise failed[0]
    if as_json:
        echo_json(
            {"model": model, "images": records, **({"written": [str(path) for path in written]} if formats else {})}
        )
    elif written and not quiet:
        echo(describe_written(written))
    if failed:
        echo(f"{len(failed)} of {len(targets) + len(missing)} images could not be read.", err=True)
        ctx.exit(ImageError.exit_code)
