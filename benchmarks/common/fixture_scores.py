"""Shared by benchmarks that score a trained fixture with every backend: options, batches, a table, a file."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.results import FOLDER, table

if TYPE_CHECKING:
    from adaptrt import Report
    from adaptrt.evaluation.records import BackendResult

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"
HALF: dict[str, Any] = {"precision": "fp16", "target": 10}
"""Options of a conversion that also writes a half-precision graph."""


def count_of_images(description: str | None, default: int) -> int:
    """``--images``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=default)
    count: int = parser.parse_args().images
    return count


@contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder for images, files and the cache, so that nothing comes from an earlier run."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ADAPTRT_CACHE_DIR"] = folder
        yield Path(folder)


def through_backends(path: Path, data: Path, report: Report) -> Iterator[tuple[str, BackendResult]]:
    """``evaluate`` of a converted file, eager and ONNX Runtime, at batch 1 and 8, by name; of the graph in half
    precision beside it too, if there is one. ``report`` is that of the conversion."""
    from adaptrt.evaluation import evaluate

    origin: dict[str, Any] = {
        "adapter": report.adapter,
        "source": report.source,
        "weights": report.weights or None,
        "params": report.options,
    }
    half = path.with_suffix(f".{HALF['precision']}.onnx")
    for batch in (1, 8):
        for one in evaluate([path], data, backends=["eager", "onnxruntime"], batch=batch, **origin).results:
            yield f"{one.backend} batch {batch}", one
        if half.exists():
            (one,) = evaluate([half], data, backends=["onnxruntime"], batch=batch).results
            yield f"{one.backend} {HALF['precision']} batch {batch}", one


def keep(name: str, result: dict[str, Any], head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write the result to benchmarks/results, and print it as a table."""
    (FOLDER / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    table(head, rows)


def keep_scores(name: str, result: dict[str, Any]) -> None:
    """``result["scores"]`` are the scores of each pipeline."""
    names = list(next(iter(result["scores"].values())))
    rows = [
        (pipeline, *(round(100 * scores[key], 2) for key in names)) for pipeline, scores in result["scores"].items()
    ]
    keep(name, result, ("pipeline", *names), rows)
