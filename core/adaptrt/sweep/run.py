"""Runs the conversions of a sweep that have no result yet, each in a process with its log, through an executor."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
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
# options whose values are words: a folder may have the same name
_WORDS = frozenset({"adapter", "exporter", "precision", "require", "target", "to", "verify"})


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
        digests = digests_of(request.cells, request.output)
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
    outcome = _outcome(folder, cell, result)
    return outcome if _is_whole(folder, outcome.report) else None


def _is_whole(folder: Path, report: Mapping[str, Any]) -> bool:
    """Whether the folder has the files that the report describes, not those of another conversion into the same folder.

    Only those that were written or moved after the result are read: there may be many engines.
    """
    finished = (folder / RESULT).stat().st_mtime_ns
    for record in (report.get("files") or {}).values():
        path = folder / Path(str(record.get("path"))).name
        if "sha256" not in record:
            continue
        if not path.is_file():
            return False
        found = path.stat()
        if max(found.st_mtime_ns, found.st_ctime_ns) >= finished and file_sha256(path) != record["sha256"]:
            return False
    return True


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


def _listing(folder: Path, output: Path) -> str:
    """The names, sizes and times of the files in a folder, as a hash: there may be many images. What Python, version control and the
    sweep itself write there does not count."""
    digest, own = hashlib.sha256(), output.resolve()
    for top, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name != "__pycache__" and not name.startswith(".") and (Path(top) / name).resolve() != own
        )
        for name in sorted(names):
            path = Path(top) / name
            with contextlib.suppress(OSError):  # a link to nothing
                found = path.stat()
                text = f"{path.relative_to(folder)}\0{found.st_size}\0{found.st_mtime_ns}\n"
                digest.update(text.encode(errors="surrogateescape"))
    return digest.hexdigest()


def digests_of(cells: Sequence[Cell], output: Path) -> dict[str, str]:
    """By conversion: of its options, and of the files and folders that they name, as they are before it runs. One that many
    conversions name is read once."""
    content, listing = cache(file_sha256), cache(partial(_listing, output=output))

    def digest_of(cell: Cell) -> str:
        files: dict[str, str] = {}
        for name in _names({key: value for key, value in cell.options.items() if key not in _WORDS}):
            if os.path.isfile(name):  # noqa: PTH113 - any text
                files[name] = content(Path(name))
            elif name and os.path.isdir(name):  # noqa: PTH112
                files[name] = listing(Path(name))
        return hashlib.sha256(json.dumps([dict(cell.options), files], sort_keys=True, default=str).encode()).hexdigest()

    return {cell.name: digest_of(cell) for cell in cells}
