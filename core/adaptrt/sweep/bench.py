"""``[bench]`` of a sweep file: the latency of what each conversion wrote, measured with ``adaptrt bench``, one after another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.python_process import module_command
from adaptrt.quantities import digits
from adaptrt.specs.executors import Command, command_results
from adaptrt.store.workspace import written_aside
from adaptrt.toml_lines import place_of

if TYPE_CHECKING:
    from adaptrt.sweep.run import Outcome, SweepRequest

KEYS = ("batch", "threads", "cpu-threads", "seconds", "turns", "image", "cuda-graphs", "device")
BENCH, BENCH_RESULT = "bench.json", "bench-result.json"


@dataclass(frozen=True)
class Latency:
    """Medians in milliseconds: of the ``file`` alone, and of a ``call`` on decoded images (``None`` without pre- and postprocessing).

    ``error``: why it could not be measured.
    """

    file: float | None = None
    call: float | None = None
    error: str = ""


@dataclass(frozen=True)
class BenchPlan:
    """``words``: options of ``adaptrt bench``. ``command`` runs it."""

    words: tuple[str, ...]
    command: Sequence[str] = (*module_command("adaptrt"), "bench")


def bench_of(content: Mapping[str, Any], where: str) -> BenchPlan | None:
    """The section ``[bench]`` of a sweep file, if it has one: options of ``adaptrt bench`` with one value each."""
    if "bench" not in content:
        return None
    table = content["bench"]
    if not isinstance(table, Mapping):
        raise UsageError(f"{place_of(where, 'bench')}: bench must be a table.", hint="Write [bench].")
    words: list[str] = []
    for key, value in table.items():
        if key not in KEYS:
            raise UsageError(
                f"{place_of(where, 'bench', key)}: [bench] has no option {key!r}.", hint=did_you_mean(key, KEYS)
            )
        if isinstance(value, (list, Mapping)) or "," in str(value):
            raise UsageError(f"{place_of(where, 'bench', key)}: [bench] {key} must be one value; got {value!r}.")
        words.append(f"--{key}={value}")
    return BenchPlan(tuple(words))


def measure_latencies(
    request: SweepRequest, plan: BenchPlan, outcomes: Sequence[Outcome], digests: Mapping[str, str]
) -> list[Outcome]:
    """The outcomes with the latency of their files; earlier measurements of the same files and options are kept."""
    found: dict[str, Latency] = {}
    commands = []
    for outcome in outcomes:
        name, folder = outcome.cell.name, request.output / outcome.cell.name
        file = written_file(outcome.report, folder)
        if outcome.code or file is None:
            continue
        latency = _kept(folder, [digests[name], *plan.words, outcome.seconds])
        if latency is not None and not latency.error:
            found[name] = latency
        else:
            words = (*plan.command, str(file), *plan.words, "--json")
            commands.append(Command(name=name, words=words, output=folder / BENCH, log=folder / "log.txt", append=True))
    by_name = {outcome.cell.name: outcome for outcome in outcomes}
    limits = replace(request.limits, jobs=1, memory=0, gpus=request.limits.gpus[:1])
    with closing(command_results(request.executor, commands, limits, request.own)) as results:
        for count, result in enumerate(results, 1):
            folder = request.output / result.name
            latency = found[result.name] = _read(folder / BENCH)
            key = [digests[result.name], *plan.words, by_name[result.name].seconds]
            with written_aside(folder / BENCH_RESULT) as aside:
                aside.write_text(json.dumps({"key": key, **vars(latency)}), encoding="utf-8")
            said = latency.error if latency.file is None else f"{digits(latency.file)} ms"
            request.progress(f"latency {count}/{len(commands)} {result.name}: {said}")
    return [replace(outcome, latency=found.get(outcome.cell.name)) for outcome in outcomes]


def written_file(report: Mapping[str, Any], folder: Path) -> Path | None:
    """The file that a conversion is for: the last one that a backend built, or else the ONNX file in its precision.

    In ``folder``, that of the conversion: a report of an earlier run is a file like any other, and what it names is not opened.
    """
    files = report.get("files") or {}
    built = [record["name"] for record in reversed(report.get("artifacts") or ())]
    name = next((name for name in (*built, "reduced", "onnx") if files.get(name, {}).get("path")), None)
    return None if name is None else folder / Path(str(files[name]["path"])).name


def _kept(folder: Path, key: list[Any]) -> Latency | None:
    try:
        kept = json.loads((folder / BENCH_RESULT).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(kept, dict) or kept.pop("key", None) != key:
        return None
    return Latency(**kept)


def _read(path: Path) -> Latency:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return Latency(error="latency not measured; see the log")
    if "error" in content:
        return Latency(error=f"latency not measured: {content['error'].get('message', 'see the log')}")
    row = content["rows"][0]
    return Latency(row["file"]["p50"], row["call"]["p50"] if row.get("call") else None)
