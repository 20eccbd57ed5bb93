"""Runs the conversions of a sweep that have no result yet, each in a process with its log, through an executor."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from adaptrt.batch.processes import PROCESSES
from adaptrt.conversion_file import toml_text
from adaptrt.pipeline.output import output_error
from adaptrt.python_process import module_command
from adaptrt.specs.executors import Command, CommandLimits, CommandResult, RunsCommands, command_results
from adaptrt.store.folder_lock import only_process
from adaptrt.store.hashing import file_sha256
from adaptrt.store.workspace import written_aside
from adaptrt.sweep.bench import BenchPlan, Latency, measure_latencies
from adaptrt.sweep.plan import Cell

LOG, REPORT, RESULT, CONFIG = "log.txt", "report.json", "result.json", "conversion.toml"
LOCK = ".sweep.lock"


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """``limits``: of the conversions that run at the same time. ``own``: options of the ``executor``. ``words``: further
    arguments by conversion. ``command`` runs one. ``bench``: what latency is measured with, after the conversions. ``progress``
    receives a line for each result."""

    cells: Sequence[Cell]
    output: Path
    limits: CommandLimits = field(default_factory=CommandLimits)
    executor: RunsCommands = PROCESSES
    own: Any = None
    retry_failed: bool = False
    words: Mapping[str, Sequence[str]] = field(default_factory=dict)
    command: Sequence[str] = (*module_command("adaptrt"), "convert")
    bench: BenchPlan | None = None
    progress: Callable[[str], None] = field(default=lambda _: None)


@dataclass(frozen=True)
class Outcome:
    """The result of a conversion: its exit code, its duration, and its report as JSON data (that of the error, if it failed).

    ``latency``: of its file; ``None`` if it was not requested, or the conversion failed.
    """

    cell: Cell
    code: int
    seconds: float
    report: Mapping[str, Any]
    latency: Latency | None = None


def run_sweep(request: SweepRequest) -> list[Outcome]:
    """Every result, in the order of the conversions. Conversions that run are ended if this is interrupted."""
    try:
        request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(error, request.output) from error
    with only_process(request.output, LOCK, "the sweep"):
        digests = digests_of(request.cells)
        found = {cell.name: _finished(request, cell, digests[cell.name]) for cell in request.cells}
        left = {cell.name: cell for cell in request.cells if found[cell.name] is None}
        done = len(request.cells) - len(left)
        if done:
            request.progress(f"{done} of {len(request.cells)} conversions have a result")
        commands = [_command(request, cell) for cell in left.values()]
        with closing(command_results(request.executor, commands, request.limits, request.own)) as results:
            for result in results:
                done += 1
                outcome = _record(request, left[result.name], result, digests[result.name])
                word = "passed" if outcome.code == 0 else f"failed, exit code {outcome.code}"
                request.progress(f"{done}/{len(request.cells)} {result.name}: {word} ({outcome.seconds:.0f} s)")
                found[result.name] = outcome
        outcomes = [one for cell in request.cells if (one := found[cell.name]) is not None]
        return outcomes if request.bench is None else measure_latencies(request, request.bench, outcomes, digests)


def _command(request: SweepRequest, cell: Cell) -> Command:
    folder = request.output / cell.name
    folder.mkdir(exist_ok=True)
    # new files: a conversion of a sweep that was killed may still write to the old ones
    for name in (RESULT, REPORT, LOG):
        (folder / name).unlink(missing_ok=True)
    (folder / CONFIG).write_text(toml_text(cell.options), encoding="utf-8")
    words = [*request.command, "--config", str(folder / CONFIG), "-o", f"{folder}{os.sep}", "--json"]
    return Command(
        name=cell.name,
        words=(*words, *request.words.get(cell.name, ())),
        output=folder / REPORT,
        log=folder / LOG,
    )


def _record(request: SweepRequest, cell: Cell, result: CommandResult, digest: str) -> Outcome:
    """Write ``result.json``, which makes the conversion finished."""
    folder = request.output / cell.name
    record = {"digest": digest, "exit_code": result.code, "seconds": round(result.seconds, 2)}
    with written_aside(folder / RESULT) as aside:
        aside.write_text(json.dumps(record), encoding="utf-8")
    return _outcome(folder, cell, record)


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


def _names(value: Any) -> Iterator[str]:
    """Every text in an option, which can be the path of a file; also the file of a ``net.py:Net``."""
    if isinstance(value, str):
        yield value
        yield value.rpartition(":")[0]
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _names(one)
    elif isinstance(value, list):
        for one in value:
            yield from _names(one)


def digests_of(cells: Sequence[Cell]) -> dict[str, str]:
    """By conversion: of its options, and of the content of the files that they name, as they are before it runs. A file that many
    conversions name is read once."""
    content = cache(file_sha256)

    def digest_of(cell: Cell) -> str:
        files = {name: content(Path(name)) for name in _names(cell.options) if os.path.isfile(name)}  # noqa: PTH113 - any text
        return hashlib.sha256(json.dumps([dict(cell.options), files], sort_keys=True, default=str).encode()).hexdigest()

    return {cell.name: digest_of(cell) for cell in cells}
