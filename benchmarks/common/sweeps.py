"""Conversions that ``adaptrt sweep`` runs: the file that describes them, and the reports that it leaves.

A benchmark prepares a folder: weights, images, and ``sweep.toml``. Then, in the root of the repository,

::

    adaptrt sweep FOLDER/sweep.toml -o FOLDER/sweep --jobs 2

Its tables are made from the ``report.json`` and ``conversion.toml`` of each conversion, and from what only the benchmark knows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SWEEP_FILE, SWEEP, INPUTS, PREPARED = "sweep.toml", "sweep", "inputs", "model.json"


@dataclass(frozen=True)
class Conversion:
    """``options`` of ``adaptrt convert``, and its ``report`` as JSON data: that of the error, if it failed, and empty if it printed none."""

    name: str
    options: Mapping[str, Any]
    report: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return round(sum(stage["seconds"] for stage in self.report.get("stages", ())), 1)

    @property
    def failure(self) -> str:
        """The error of a failed conversion; empty if it passed."""
        if not self.report:
            return "the process ended without a report"
        return " ".join(self.report["error"]["message"].split()) if "error" in self.report else ""

    def link(self, number: int) -> Mapping[str, Any]:
        return next(link for link in self.report["links"] if link["number"] == number)

    def nodes(self) -> int:
        return int(sum(self.report["operators"]["final"].values()))

    def boxes(self) -> int:
        """Found by the framework's own predict in the image."""
        images = self.report["images"]
        return len(images[0]["predictions"]["framework"]["data"]["scores"]) if images else 0


def conversions(folder: Path) -> Iterator[Conversion]:
    """Those of ``folder / "sweep"`` that have ended."""
    from adaptrt.conversion_file import read_conversion

    for result in sorted((folder / SWEEP).glob("*/result.json")):
        options = read_conversion(result.with_name("conversion.toml"))
        text = result.with_name("report.json").read_text(encoding="utf-8")
        yield Conversion(result.parent.name, options, json.loads(text) if text.strip() else {})


def sweep_text(
    options: Mapping[str, Any], models: Sequence[Mapping[str, Any]], axes: Mapping[str, Sequence[Any]] | None = None
) -> str:
    """``sweep.toml``. Values are text, numbers, and tables of text."""
    lines = ["[options]", *_lines(options)]
    for model in models:
        lines += ["", "[[models]]", *_lines(model)]
    if axes:
        lines += ["", "[axes]", *_lines(axes)]
    return "\n".join(lines) + "\n"


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(key)} = {_value(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, default=list)  # texts, numbers and lists of them are written as in JSON


def prepare_each(folder: Path, command: Sequence[str], names: Sequence[str], jobs: int, limit: int = 900) -> None:
    """Run ``command NAME`` for each name that has no ``inputs/NAME/model.json``, several at a time; what it prints last goes there."""

    def run(name: str) -> None:
        done = folder / INPUTS / name / PREPARED
        if done.exists():
            return
        done.parent.mkdir(parents=True, exist_ok=True)
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        words = [sys.executable, "-W", "ignore", *command, name]
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        try:
            process = subprocess.run(
                words, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=limit
            )
        except subprocess.SubprocessError as error:
            print(f"{name}: not prepared: {error}", flush=True)
            return
        lines = process.stdout.strip().splitlines()
        aside = done.with_suffix(".part")
        aside.write_text(lines[-1], encoding="utf-8")
        aside.replace(done)
        print(f"{name}: prepared", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, names))


def write_sweep(
    root: Path,
    command: Sequence[str],
    names: Sequence[str],
    jobs: int,
    options: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """``sweep.toml`` in ``root``, of the models that ``command NAME`` prepares and those that were prepared before."""
    prepare_each(root, command, names, jobs)
    models = list(prepared(root).values())
    for model in models:
        model.pop("unprepared", None)
    (root / SWEEP_FILE).write_text(sweep_text(options, models, axes), encoding="utf-8")
    print(f"{len(models)} models in {root / SWEEP_FILE}")


def prepared(folder: Path) -> dict[str, dict[str, Any]]:
    """What each ``model.json`` has, by name."""
    found = sorted((folder / INPUTS).glob(f"*/{PREPARED}"))
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in found}
