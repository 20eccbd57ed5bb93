"""Shared by all benchmarks: a description of the machine, tables, result files."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "results"


def machine(*packages: str) -> dict[str, Any]:
    """Processor, system and versions, which every result records."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **dict(map(installed, packages)),
    }


def installed(package: str) -> tuple[str, str]:
    """Name and version of a distribution: ``onnxruntime-gpu`` where it is installed instead of ``onnxruntime``."""
    try:
        return package, metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"{package}-gpu", metadata.version(f"{package}-gpu")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with ``--json FILE``; ``--json keep`` writes into ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE; 'keep': to benchmarks/results")
    return parser


def use_fixtures() -> None:
    """Make the modules of tests/fixtures importable, which draw images and train the fixtures."""
    folder = str(Path(__file__).parents[2] / "tests" / "fixtures")
    if folder not in sys.path:
        sys.path.insert(0, folder)


def finish(name: str, where: str | None, result: dict[str, Any]) -> None:
    if where:
        path = FOLDER / f"{name}.json" if where == "keep" else Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        print(f"\nwritten to {path}")


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    texts = [[f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in [list(head), *texts]) for column in range(len(head))]
    for row in [list(head), ["-" * width for width in widths], *texts]:
        print(
            "  ".join(
                cell.ljust(width) if not column else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def read(name: str) -> dict[str, Any]:
    """The stored result of a benchmark."""
    kept: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return kept


def markdown(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """The lines of a Markdown table."""
    return ["| " + " | ".join(map(str, line)) + " |" for line in (head, ["---"] * len(head), *rows)]


def with_tables(page: Path, tables: Mapping[str, Callable[[], list[str]]]) -> str:
    """The page with an updated table between ``<!-- table: NAME -->`` and ``<!-- end -->``."""

    def table(found: re.Match[str]) -> str:
        return found[1] + "\n".join(tables[found[2]]()) + "\n" + found[3]

    return re.sub(
        r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", table, page.read_text(encoding="utf-8"), flags=re.DOTALL
    )
