"""The executor ``processes``: several processes on this machine, each with its own copy of the model."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from adaptrt.batch.commands import cpu_count, run_processes
from adaptrt.errors import AdaptrtError, ImageError, PluginError, UsageError
from adaptrt.python_process import safe_path
from adaptrt.specs.executors import Command, CommandLimits, CommandResult, ExecutorOptions, ImageResult
from adaptrt.specs.image_files import ImageFile

AHEAD = 4  # images that a worker has received and not answered yet
MAX_ENDS = 20  # of workers in a row, without an answer between them: the images are not the cause


@dataclass(frozen=True)
class ProcessOptions:
    """``workers``: number of processes; 0: one per CPU for a model on the CPU, else one."""

    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UsageError(f"workers must be at least 0; got {self.workers}.")


class ProcessExecutor:
    """A worker that ends, whatever the reason, costs the image that it was working on: it is tried again alone, and then is an error.

    Workers end when this process does, even if it is killed.
    """

    name = "processes"
    summary = "several processes on this machine"
    options = ProcessOptions

    def run(self, model: Path, sources: Sequence[ImageFile], options: ExecutorOptions) -> Iterator[ImageResult]:
        own = options.own or ProcessOptions()
        cpus = cpu_count()
        count = own.workers or (cpus if _on_cpu(model, options) else 1)
        count = max(1, min(count, len(sources)))
        if options.threads is None:
            options = replace(options, threads=max(1, cpus // count))
        pool = _Pool(model, options, count)
        try:
            yield from pool.results(sources)
        finally:
            pool.close()

    def run_commands(self, commands: Sequence[Command], limits: CommandLimits, own: Any) -> Iterator[CommandResult]:
        if own is not None and own.workers:
            raise UsageError("The option workers applies only to batch jobs.", hint="Use --jobs.")
        yield from run_processes(commands, limits)


def _on_cpu(model: Path, options: ExecutorOptions) -> bool:
    from adaptrt.store.model_files import require_backend, require_model_file

    require_model_file(model)
    return (options.device or require_backend(model).devices[0]).startswith("cpu")


class _Worker:
    """A process, and the images that it has not answered, the oldest first."""

    def __init__(self, model: Path, options: ExecutorOptions) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, model, options), daemon=True)
        with safe_path():
            self.process.start()
        theirs.close()  # so that its end is seen here
        self.waiting: deque[ImageFile] = deque()

    def give(self, path: ImageFile) -> None:
        self.waiting.append(path)
        # the end of a worker is seen when its connection is read; its images are then given to another one
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(path)

    def close(self) -> None:
        self.connection.close()
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class _Pool:
    def __init__(self, model: Path, options: ExecutorOptions, count: int) -> None:
        self._model, self._warn = model, options.warn
        self._options = replace(options, own=None, warn=_no_warning)
        self._workers = [_Worker(model, self._options) for _ in range(count)]
        self._warned = set[str]()
        self._ends = 0  # of workers since the last answer

    def results(self, sources: Sequence[ImageFile]) -> Iterator[ImageResult]:
        left = deque(sources)
        suspects = deque[ImageFile]()  # images that a worker had when it ended: each is tried alone
        while left or suspects or any(worker.waiting for worker in self._workers):
            self._feed(left, suspects)
            ready = wait([worker.connection for worker in self._workers if worker.waiting])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                yield from self._answers(worker, left, suspects)

    def _feed(self, left: deque[ImageFile], suspects: deque[ImageFile]) -> None:
        for worker in self._workers:
            if suspects:
                if not worker.waiting:
                    worker.give(suspects.popleft())
                continue
            while left and len(worker.waiting) < AHEAD:
                worker.give(left.popleft())

    def _answers(self, worker: _Worker, left: deque[ImageFile], suspects: deque[ImageFile]) -> Iterator[ImageResult]:
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._ended(worker, left, suspects)
            return
        if kind == "failed":
            raise content
        if kind == "warning":
            if content not in self._warned:  # each worker has the same ones
                self._warned.add(content)
                self._warn(content)
            return
        worker.waiting.popleft()
        self._ends = 0
        yield content

    def _ended(self, worker: _Worker, left: deque[ImageFile], suspects: deque[ImageFile]) -> Iterator[ImageResult]:
        worker.process.join()
        code, images = worker.process.exitcode, list(worker.waiting)
        reason = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        worker.close()
        self._ends += 1
        if self._ends >= MAX_ENDS:
            raise PluginError(
                f"{MAX_ENDS} worker processes ended one after another ({reason}).",
                hint="Run it with --executor local to see why.",
            )
        if len(images) == 1:
            error = ImageError(f"{images[0]}: the worker process ended ({reason}).", hint="Check the file.")
            yield ImageResult(path=images[0], error=error)
        else:
            suspects.append(images[0])
            left.extendleft(reversed(images[1:]))
        self._workers[self._workers.index(worker)] = _Worker(self._model, self._options)

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def _no_warning(text: str) -> None: ...


def _work(connection: Connection, model: Path, options: ExecutorOptions) -> None:
    """The worker: reads paths until the other end is closed."""
    from adaptrt.pipeline.executors import LOCAL

    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches every process of the terminal; the parent closes the connection

    def paths() -> Iterator[ImageFile]:
        while True:
            try:
                yield connection.recv()
            except (EOFError, ConnectionResetError):
                return

    try:
        reporting = replace(options, warn=lambda text: connection.send(("warning", text)))
        with LOCAL.open(model, reporting) as opened:
            for path in paths():  # one at a time: the other end may wait for this result before it sends another path
                for result in LOCAL.results(opened, [path], reporting):
                    connection.send(("result", replace(result, pixels=None)))
    except (BrokenPipeError, ConnectionResetError):
        return  # the parent is gone
    except AdaptrtError as error:
        _tell(connection, error)
    except Exception as error:
        _tell(connection, PluginError(f"A worker process failed: {type(error).__name__}: {error}."))


def _tell(connection: Connection, error: Any) -> None:
    try:
        connection.send(("failed", error))
    except (BrokenPipeError, ConnectionResetError):
        return


PROCESSES = ProcessExecutor()
