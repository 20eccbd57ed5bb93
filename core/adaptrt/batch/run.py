"""Runs a batch job: the images that no finished part has, through an executor, into parts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.batch.manifest import manifest_of, open_job, options_of
from adaptrt.batch.parts import FORMATS, Part, Row, find_parts, require_format, write_part
from adaptrt.errors import UsageError, did_you_mean
from adaptrt.pipeline.output import output_error
from adaptrt.quantities import counted
from adaptrt.specs import task_named
from adaptrt.specs.executors import Executor, ExecutorOptions, ImageResult, image_results, no_result
from adaptrt.specs.image_files import ImageFile
from adaptrt.store.folder_lock import only_process

LOCK = ".job.lock"


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` images have a row, ``failed`` of them with an error; ``rate``: images per second of this run."""

    done: int
    total: int
    failed: int
    rate: float


@dataclass(frozen=True, kw_only=True)
class BatchRequest:
    """``retry_failed``: also process the images again whose rows have an error. ``progress`` is called after each image."""

    model: Path
    sources: Sequence[ImageFile]
    output: Path
    executor: Executor
    options: ExecutorOptions = field(default_factory=ExecutorOptions)
    form: str = "jsonl"
    part_size: int = 1000
    retry_failed: bool = False
    progress: Callable[[Progress], None] = field(default=lambda _: None)


@dataclass(frozen=True)
class BatchSummary:
    """``processed``: images of this run. ``rows`` and ``failed`` count those of the whole job. ``seconds``: of this run."""

    rows: int
    failed: int
    processed: int
    parts: int
    seconds: float


def run_batch(request: BatchRequest) -> BatchSummary:
    """Run a job, or what is left of it. Raises a ``UsageError`` if the folder holds another job, or it is running."""
    _check(request)
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        with only_process(request.output, LOCK, "the job"):
            return _Job(request).run()
    except OSError as error:
        raise output_error(error, request.output) from error


def _check(request: BatchRequest) -> None:
    if request.form not in FORMATS:
        raise UsageError(f"Unknown format {request.form!r}.", hint=did_you_mean(request.form, FORMATS))
    if request.part_size < 1:
        raise UsageError(f"The part size must be at least 1; got {request.part_size}.")
    require_format(request.form)


class _Job:
    def __init__(self, request: BatchRequest) -> None:
        self._request = request
        changing = options_of(request.options)
        manifest = manifest_of(request.model, changing, request.sources, form=request.form, part_size=request.part_size)
        open_job(request.output, manifest)
        self._parts, warnings = find_parts(request.output)
        for warning in warnings:
            request.options.warn(warning)
        self._rows: dict[int, dict[int, Row]] = {}  # of parts that are not finished, by position in the part
        self._failed = 0
        self._replaced: list[ImageFile] = []

    def run(self) -> BatchSummary:
        request, size = self._request, self._request.part_size
        count = -(-len(request.sources) // size)
        pending: list[int] = []
        done = 0
        for index in range(count):
            positions = range(index * size, min((index + 1) * size, len(request.sources)))
            kept = self._kept_rows(index, positions)
            done += len(kept)
            pending += [position for position in positions if position - index * size not in kept]
            self._replaced += self._newer(index, [request.sources[index * size + position] for position in kept])
        if self._replaced:
            request.options.warn(
                f"{counted(len(self._replaced), 'image')} changed after the results were written (first: {self._replaced[0]}): "
                "to process them again, choose another folder with -o"
            )
        start, processed = time.monotonic(), 0
        for position, row in self._computed(pending):
            processed += 1
            self._failed += "error" in row
            self._add(position, row)
            spent = max(time.monotonic() - start, 1e-9)
            request.progress(Progress(done + processed, len(request.sources), self._failed, processed / spent))
        if self._rows:
            missing = len(request.sources) - done - processed
            hint = "Run the same command again: finished parts are kept."
            raise no_result(request.executor, missing, "images", hint=hint)
        return BatchSummary(len(request.sources), self._failed, processed, count, time.monotonic() - start)

    def _kept_rows(self, index: int, positions: range) -> dict[int, Row]:
        """The rows that a finished part keeps, by position in the part; those to retry are left for this run."""
        part = self._parts.get(index)
        if part is None or part.rows != len(positions):
            return {}
        rows: dict[int, Row] = dict(enumerate(part.read()))
        good = {position: row for position, row in rows.items() if "error" not in row}
        if self._request.retry_failed and len(good) < len(rows):
            self._rows[index] = dict(good)
            return good
        self._failed += len(rows) - len(good)
        return rows

    def _newer(self, index: int, sources: Sequence[ImageFile]) -> list[ImageFile]:
        """The files that were modified after the part with their rows. It may be a fresh copy of the same image, so the rows stay."""
        found: list[ImageFile] = []
        if sources:
            written = self._parts[index].path.stat().st_mtime_ns
            for source in sources:
                with contextlib.suppress(OSError):
                    if isinstance(source, Path) and source.stat().st_mtime_ns > written:
                        found.append(source)
        return found

    def _computed(self, pending: Sequence[int]) -> Iterator[tuple[int, Row]]:
        if not pending:
            return
        request = self._request
        paths = [request.sources[position] for position in pending]
        position_of = dict(zip(paths, pending, strict=True))
        with closing(image_results(request.executor, request.model, paths, request.options)) as results:
            for result in results:
                yield position_of[result.path], row_of(result)

    def _add(self, position: int, row: Row) -> None:
        size, total = self._request.part_size, len(self._request.sources)
        index = position // size
        rows = self._rows.setdefault(index, {})
        rows[position - index * size] = row
        if len(rows) < min(size, total - index * size):
            return
        before = self._parts.get(index)
        generation = before.generation + 1 if before else 0
        ordered = [rows[key] for key in sorted(rows)]
        self._parts[index] = self._write(index, generation, ordered)
        if before is not None:
            before.path.unlink(missing_ok=True)
        del self._rows[index]

    def _write(self, index: int, generation: int, rows: Sequence[Row]) -> Part:
        return write_part(self._request.output, index, generation, rows, self._request.form)


def row_of(result: ImageResult) -> Row:
    """What is written for an image: the keys of ``adaptrt predict --json``, without times, or its error."""
    if result.error is not None:
        return {"path": str(result.path), "error": result.error.message}
    height, width = result.size
    found = task_named(result.task).row(result.prediction)
    return {"path": str(result.path), "height": height, "width": width, **found}
