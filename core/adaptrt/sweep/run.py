"""Runs the conversions of a sweep that have no result yet, several at a time, each in a process with its log."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

from adaptrt.conversion_file import toml_text
from adaptrt.pipeline.output import output_error
from adaptrt.store.folder_lock import only_process
from adaptrt.store.hashing import file_sha256
from adaptrt.sweep.plan import Cell

LOG, REPORT, RESULT, CONFIG = "log.txt", "report.json", "result.json", "conversion.toml"
LOCK = ".sweep.lock"
POLL = 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """``jobs``: conversions at a time. ``memory``: bytes that each one may need; another one starts only if so much is available.
    ``gpus``: indices of GPUs, one for each conversion at a time; empty: all conversions see all of them. ``words``: further
    arguments by conversion. ``command`` runs one. ``progress`` receives a line for each result."""

    cells: Sequence[Cell]
    output: Path
    jobs: int = 1
    memory: int = 0
    gpus: tuple[str, ...] = ()
    retry_failed: bool = False
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    command: Sequence[str] = (sys.executable, "-m", "adaptrt", "convert")
    progress: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True)
class Outcome:
    """The result of a conversion: its exit code, its duration, and its report as JSON data (that of the error, if it failed)."""

    cell: Cell
    code: int
    seconds: float
    report: Mapping[str, Any]


def run_sweep(request: SweepRequest) -> list[Outcome]:
    """Every result, in the order of the conversions. Conversions that run are ended if this is interrupted."""
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, request.output) from error
    with only_process(request.output, LOCK, "the sweep"):
        digests = digests_of(request.cells)
        found = {cell.name: _finished(request, cell, digests[cell.name]) for cell in request.cells}
        left = [cell for cell in request.cells if found[cell.name] is None]
        done = len(request.cells) - len(left)
        if done:
            request.progress(f"{done} of {len(request.cells)} conversions have a result")
        with closing(_run_all(request, left, digests)) as outcomes:
            found |= {outcome.cell.name: outcome for outcome in outcomes}
    return [outcome for cell in request.cells if (outcome := found[cell.name]) is not None]


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    started: float
    gpu: str | None
    log: IO[bytes]


def _run_all(request: SweepRequest, left: Sequence[Cell], digests: Mapping[str, str]) -> Generator[Outcome]:
    waiting, running = list(left), list[_Running]()
    done = len(request.cells) - len(left)
    free = list(request.gpus)
    jobs = min(request.jobs, len(request.gpus)) if request.gpus else request.jobs
    try:
        while waiting or running:
            while waiting and len(running) < jobs and (not running or _available() >= request.memory):
                running.append(_start(request, waiting.pop(0), free.pop(0) if free else None))
            ended = [one for one in running if one.process.poll() is not None]
            for one in ended:
                running.remove(one)
                if one.gpu is not None:
                    free.append(one.gpu)
                done += 1
                outcome = _record(request, one, digests[one.cell.name])
                word = "passed" if outcome.code == 0 else f"failed, exit code {outcome.code}"
                request.progress(f"{done}/{len(request.cells)} {one.cell.name}: {word} ({outcome.seconds:.0f} s)")
                yield outcome
            if not ended:
                time.sleep(POLL)
    finally:
        for one in running:
            one.process.terminate()
        for one in running:
            one.process.wait()
            one.log.close()


def _start(request: SweepRequest, cell: Cell, gpu: str | None) -> _Running:
    folder = request.output / cell.name
    folder.mkdir(exist_ok=True)
    (folder / RESULT).unlink(missing_ok=True)
    (folder / CONFIG).write_text(toml_text(cell.options), encoding="utf-8")
    command = [*request.command, "--config", str(folder / CONFIG), "-o", f"{folder}{os.sep}"]
    environment = {**os.environ, **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})}
    log = (folder / LOG).open("wb")
    with (folder / REPORT).open("wb") as report:
        process = subprocess.Popen(
            [*command, "--json", *request.words.get(cell.name, ())],
            stdin=subprocess.DEVNULL,
            stdout=report,
            stderr=log,
            env=environment,
        )
    return _Running(cell, process, time.monotonic(), gpu, log)


def _record(request: SweepRequest, one: _Running, digest: str) -> Outcome:
    """Write ``result.json``, which makes the conversion finished."""
    one.log.close()
    folder = request.output / one.cell.name
    result = {
        "digest": digest,
        "exit_code": one.process.returncode,
        "seconds": round(time.monotonic() - one.started, 2),
    }
    aside = folder / f".{RESULT}.aside"
    aside.write_text(json.dumps(result), encoding="utf-8")
    aside.replace(folder / RESULT)
    return _outcome(folder, one.cell, result)


def _finished(request: SweepRequest, cell: Cell, digest: str) -> Outcome | None:
    """The result of an earlier run of the same conversion."""
    folder = request.output / cell.name
    try:
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(result, dict) or result.get("digest") != digest:
        return None
    if result["exit_code"] and request.retry_failed:
        return None
    return _outcome(folder, cell, result)


def _outcome(folder: Path, cell: Cell, result: Mapping[str, Any]) -> Outcome:
    try:
        report = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # a process that was killed prints nothing
        report = {}
    return Outcome(cell, int(result["exit_code"]), float(result["seconds"]), report if isinstance(report, dict) else {})


def digests_of(cells: Sequence[Cell]) -> dict[str, str]:
    """By conversion: of its options, and of the content of the files that they name, as they are before it runs. A file that many
    conversions name is read once."""
    content = cache(file_sha256)

    def digest_of(cell: Cell) -> str:
        named = (Path(str(value)) for key, value in cell.options.items() if key in ("source", "weights"))
        files = {str(path): content(path) for path in named if path.is_file()}
        return hashlib.sha256(json.dumps([dict(cell.options), files], sort_keys=True, default=str).encode()).hexdigest()

    return {cell.name: digest_of(cell) for cell in cells}


def _available() -> int:
    """Bytes of memory that are available; without a way to know, any number."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return sys.maxsize
