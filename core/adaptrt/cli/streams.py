"""``adaptrt predict`` on videos, cameras, streams and URLs: frame after frame."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.cli.output import echo, echo_json, redirect_stdout_to_stderr
from adaptrt.cli.results import describe_written
from adaptrt.errors import DependencyError, ImageError, OutputError, UsageError
from adaptrt.pipeline.output import require_folder, require_no_input
from adaptrt.python_process import program_command
from adaptrt.sources import SourceOptions, find_sources
from adaptrt.sources.download import file_name
from adaptrt.sources.find import VIDEO_SUFFIXES, warn_of_skipped
from adaptrt.sources.images import ImageSource, Unreadable
from adaptrt.sources.url import UrlSource
from adaptrt.store.free_names import FreeNames
from adaptrt.vision.images import SUFFIXES, for_display, write_image
from adaptrt.vision.video import VIDEO_SUFFIX, VideoWriter

if TYPE_CHECKING:
    from adaptrt.pipeline.load import Model
    from adaptrt.pipeline.streaming import FrameResult
    from adaptrt.sources import Source
    from adaptrt.specs import Task
    from adaptrt.specs.executors import ExecutorOptions
    from adaptrt.vision.images import ImageArray

WINDOW = "adaptrt (q ends)"
_ENDS = (ord("q"), 27)
_WINDOW_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class StreamRequest:
    """The options of ``adaptrt predict`` that apply to frames."""

    model: str
    sources: Sequence[str]
    output: str | None
    formats: Sequence[str]
    stream: bool
    show: bool
    batch: int | None
    max_frames: int | None
    as_json: bool
    quiet: bool
    verbose: int


def is_stream(named: Sequence[str]) -> bool:
    """Whether any of the sources is not a still image in a file of this machine."""
    if any("://" in name for name in named):
        return True
    return not all(source.still for source in find_sources(named))


def predict_stream(request: StreamRequest, options: ExecutorOptions) -> int:
    """Run on every frame, print and write as requested; the exit code."""
    from adaptrt.pipeline.load import load
    from adaptrt.specs import task_named

    sources = find_sources(request.sources, SourceOptions(warn=options.warn))
    warn_of_skipped(request.sources, options.warn, videos=True)
    _require_possible(request, sources)
    folder = _folder(request, sources)
    records: list[dict[str, Any]] = []
    errors: list[ImageError] = []
    # printed once there is a result: an error that ends the command is not printed twice
    skipped: list[ImageError] = []
    done = dropped = 0
    with ExitStack() as stack:
        with redirect_stdout_to_stderr(request.verbose):
            opened = stack.enter_context(
                load(
                    Path(request.model),
                    options.open_options,
                    plugins_file=options.plugins_path,
                    adoption=options.adoption,
                )
            )
        for warning in opened.warnings:
            options.warn(warning)
        task = task_named(opened.spec.task)
        silent = request.as_json or request.quiet or request.stream
        writers = stack.enter_context(_Writers(folder, request.output, sources, announce=not silent))
        shown = stack.enter_context(_window()) if request.show else None
        for result in stack.enter_context(closing(_results(opened, request, options))):
            frame = result.frame
            if frame.error is not None:
                errors.append(frame.error)
                skipped.append(frame.error)
            else:
                done += 1
            if done and not request.stream:
                _print_skipped(skipped)
            for warning in opened.later_warnings():
                options.warn(warning)
            for warning in result.warnings:
                options.warn(f"{frame.source}: {warning}")
            dropped = max(dropped, frame.dropped)
            if request.stream:
                echo_json(_record(result, task), indent=None)
                sys.stdout.flush()
            elif request.as_json:
                records.append(_record(result, task))
            elif not request.quiet and frame.error is None:
                echo(_line(result, task))
            if task.draws and frame.pixels is not None and (folder is not None or shown is not None):
                drawn = task.draw(for_display(frame.pixels), result.prediction)
                writers.write(result, drawn)
                if shown is not None and shown(drawn):
                    break
            if request.max_frames is not None and done >= request.max_frames:
                break
        written = writers.close()
    if request.as_json:
        echo_json({"model": request.model, "images": records, "written": [str(path) for path in written]})
    elif not request.quiet and not request.stream:
        if dropped:
            echo(f"{dropped} frames were dropped, because newer ones had arrived.")
        _print_written(written)
    if errors and not done:
        if not request.stream:
            _print_skipped(skipped[1:])
        raise errors[0]
    return ImageError.exit_code if errors else 0


def _print_skipped(errors: list[ImageError]) -> None:
    for error in errors:
        echo(f"Skipped: {error.message}", err=True)
    errors.clear()


def _results(model: Model, request: StreamRequest, options: ExecutorOptions) -> Generator[FrameResult, None, None]:
    """Each result, computed with standard output redirected, so that libraries cannot print there."""
    settings = SourceOptions(warn=options.warn)
    found = model.predict(request.sources, batch=request.batch, options=settings, **options.params)
    with closing(found):
        while True:
            with redirect_stdout_to_stderr(request.verbose):
                one = next(found, None)
            if one is None:
                return
            yield one


def _require_possible(request: StreamRequest, sources: Sequence[Source]) -> None:
    others = [name for name in request.formats if name != "video"]
    if others:
        raise UsageError(
            f"--save {others[0]} is for image files, without --stream, --show, --batch and --max-frames.",
            hint="Use --stream for a line of JSON for each frame.",
        )
    if request.stream and request.as_json:
        raise UsageError("--stream and --json conflict.", hint="--stream prints a line of JSON for each frame.")
    if request.as_json and any(source.live for source in sources) and request.max_frames is None:
        raise UsageError("--json prints at the end of the source, but a live source has no end.", hint="Use --stream.")
    if request.show:
        _require_display()


def _require_display() -> None:
    from adaptrt.vision.opencv import cv2

    if not hasattr(cv2, "imshow"):
        raise DependencyError("This build of OpenCV cannot open windows.", hint="pip install opencv-python")
    if not sys.platform.startswith("linux"):
        return
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if not display:
        raise UsageError("--show requires a display, but none was found.", hint="Use --save video, or --stream.")
    words = program_command("import cv2; cv2.namedWindow('adaptrt'); cv2.destroyAllWindows()")
    try:  # Qt ends the process if the display does not answer
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=_WINDOW_SECONDS)
        reason = next(iter(done.stderr.splitlines()), f"exit code {done.returncode}") if done.returncode else ""
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_WINDOW_SECONDS} s"
    if reason:
        raise UsageError(
            f"OpenCV cannot open a window on display {display}: {reason}.", hint="Use --save video, or --stream."
        )


@contextmanager
def _window() -> Iterator[Any]:
    """Shows a frame; true once the user has ended it."""
    from adaptrt.vision.opencv import cv2

    def show(rgb: ImageArray) -> bool:
        cv2.imshow(WINDOW, rgb[..., ::-1])
        return (cv2.waitKey(1) & 0xFF) in _ENDS

    try:
        yield show
    except cv2.error as error:
        raise UsageError(f"No window can be opened: {error.err}.", hint="Use --save video, or --stream.") from error
    finally:
        cv2.destroyAllWindows()


def _folder(request: StreamRequest, sources: Sequence[Source]) -> Path | None:
    """Where drawn frames are written. Without -o or --save video: frames of files, unless they are printed as JSON or shown."""
    if request.output is not None:
        place = Path(request.output)
        if not _is_file_name(place):
            require_folder(place)
            return place
        _require_one_file(place, sources)
        require_folder(place.parent)
        return place.parent
    live = any(source.live for source in sources)
    if "video" in request.formats or not (live or request.stream or request.as_json or request.show):
        return Path("predictions")
    return None


def _is_file_name(place: Path) -> bool:
    """Whether ``-o`` names a file; a folder can have a dot in its name."""
    return place.suffix.lower() in SUFFIXES | VIDEO_SUFFIXES and not place.is_dir()


def _require_one_file(place: Path, sources: Sequence[Source]) -> None:
    """Before anything is read. Whether a URL is an image or a video is known only then."""
    readable = [source for source in sources if not isinstance(source, Unreadable)]
    count = sum(len(source.paths) if isinstance(source, ImageSource) else 1 for source in readable)
    if count > 1:
        raise UsageError(f"-o {place} is one file, but there are {count} sources.", hint="Pass a folder.")
    for source in readable:
        if not isinstance(source, UrlSource):
            _require_suffix(place, still=source.still)


def _require_suffix(place: Path, *, still: bool) -> None:
    """Another name than the user's could be that of another file."""
    if still and place.suffix.lower() not in SUFFIXES:
        raise OutputError(
            f"-o {place}: an image is not written as {place.suffix}.",
            hint=f"For example: -o {place.with_suffix('.png')}, or a folder.",
        )
    if not still and place.suffix.lower() != VIDEO_SUFFIX:
        raise OutputError(
            f"-o {place}: a video is written as {VIDEO_SUFFIX}, not {place.suffix}.",
            hint=f"For example: -o {place.with_suffix(VIDEO_SUFFIX)}, or a folder.",
        )


def _print_written(paths: Sequence[Path]) -> None:
    if paths:
        echo(describe_written(paths))


class _Writers:
    """A video for each source of frames, and an image for each still one. ``announce``: print their names after Ctrl-C, which ends
    live sources."""

    def __init__(
        self, folder: Path | None, output: str | None, sources: Sequence[Source], *, announce: bool = False
    ) -> None:
        self._folder, self._announce = folder, announce
        self._inputs = _files_of(sources)
        self._file = Path(output) if output is not None and _is_file_name(Path(output)) else None
        self._videos: dict[str, VideoWriter] = {}
        self._names = FreeNames(path.stem for path in self._inputs)
        self._images: list[Path] = []

    def __enter__(self) -> _Writers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        written = self.close()
        if self._announce and kind is KeyboardInterrupt:
            _print_written(written)

    def write(self, result: FrameResult, drawn: ImageArray) -> None:
        if self._folder is None:
            return
        source = result.frame.source
        if result.still:
            path = self._path(source, still=True)
            self._images.append(write_image(path, drawn, parents=True))
            return
        if source not in self._videos:
            path = self._path(source, still=False)
            self._videos[source] = VideoWriter(path, result.fps, keep_others=self._file is not None)
        self._videos[source].write(drawn)

    def close(self) -> list[Path]:
        """Complete every file, also after an error in one; the files written."""
        with ExitStack() as stack:
            for writer in self._videos.values():
                stack.callback(writer.close)
        return [*self._images, *(path for writer in self._videos.values() for path in writer.written)]

    def _path(self, source: str, *, still: bool) -> Path:
        assert self._folder is not None
        if self._file is not None:
            _require_suffix(self._file, still=still)
            path = self._file
        else:
            name = file_name(source) if "://" in source else Path(source).name
            stem, own = Path(name).stem.replace(":", ""), Path(name).suffix
            suffix = (own if own.lower() in SUFFIXES else ".png") if still else VIDEO_SUFFIX
            path = self._folder / f"{self._names.take(stem)}{suffix}"
        require_no_input(path, self._inputs)
        return path


def _files_of(sources: Sequence[Source]) -> set[Path]:
    found: set[Path] = set()
    for source in sources:
        named = source.paths if isinstance(source, ImageSource) else [source.name]
        found.update(Path(name).resolve() for name in named if isinstance(name, (str, Path)) and Path(name).is_file())
    return found


def _record(result: FrameResult, task: Task[Any]) -> dict[str, Any]:
    frame = result.frame
    about: dict[str, Any] = {"source": frame.source, "frame": frame.index, "timestamp": frame.timestamp, "dropped": frame.dropped}  # fmt: skip
    if frame.error is not None:
        return {**about, "error": frame.error.message}
    assert frame.pixels is not None
    milliseconds = {name: round(1000 * seconds, 3) for name, seconds in vars(result.timing).items()}
    return {
        **about,
        "height": frame.pixels.shape[0],
        "width": frame.pixels.shape[1],
        **task.data(result.prediction),
        "milliseconds": milliseconds,
    }


def _line(result: FrameResult, task: Task[Any]) -> str:
    frame = result.frame
    position = "" if frame.timestamp is None else f" frame {frame.index} ({frame.timestamp:.2f} s)"
    return f"{frame.source}{position}: {task.describe(result.prediction)}"
