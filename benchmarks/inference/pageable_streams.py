"""Ways to bring batches of images in pageable memory to the GPU in a stream, in turns: milliseconds of a batch, mean.

::

    python -m benchmarks.inference.pageable_streams best.engine --json FILE

``chosen`` is what adaptrt does. The others change one thing: the way of an image, how many threads copy, or whether they go on with the
next batch before this one has started.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import adaptrt
from adaptrt import worker_threads
from adaptrt.backends.tensorrt.runtime import placed_images
from adaptrt.backends.tensorrt.runtime.ways import FastestWay
from adaptrt.pipeline import runner_batches
from benchmarks.common.results import arguments, finish, machine
from benchmarks.inference.end_to_end import SIZES, drawn

WAYS = placed_images._ways
SIDES: dict[str, dict[str, Any]] = {
    "chosen": {},
    "one batch ahead": {"written": 1},
    "copied": {"way": "copy"},
    "copied by 4 threads": {"way": "copy", "threads": 4},
    "copied by 12 threads": {"way": "copy", "threads": 12},
    "resized": {"way": "resize"},
    "resized by 12 threads": {"way": "resize", "threads": 12},
}


class Side:
    """A model that streams batches in one way."""

    def __init__(self, file: str, way: Any = None, threads: int = worker_threads._THREADS, written: int = 2) -> None:
        self.model = adaptrt.load(file, allow_host_code=True)
        self._way, self._threads, self._written = way, threads, written

    def milliseconds(self, images: list[np.ndarray], count: int) -> float:
        """Of a batch, after the first ones."""
        runner_batches._WRITTEN = self._written
        placed_images._ways = WAYS if self._way is None else lambda rows: FastestWay([self._way])  # noqa: ARG005
        if worker_threads._workers().count != self._threads:
            worker_threads._workers().stop()
            worker_threads._COPYING = self._threads
            worker_threads._pool = worker_threads._Workers(self._threads)
        ends = []
        for _ in self.model._pipeline.results(self._batches(images, 20 + count), self.model.spec):
            ends.append(time.perf_counter())
        return 1e3 * (ends[-1] - ends[19]) / count

    @staticmethod
    def _batches(images: list[np.ndarray], count: int) -> Iterator[list[np.ndarray]]:
        for _ in range(count):
            yield images

    def taken(self, images: list[np.ndarray]) -> str:
        batch = self.model.runner.image_batch(self.model.spec, len(images))  # type: ignore[attr-defined]
        ways = batch.prepared.placed(images[0].shape[:2]).ways
        batch.release()
        return "resize" if ways is None else str(ways.chosen)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("file", help="an engine")
    parser.add_argument("--batches", type=int, nargs="+", default=(8, 32))
    parser.add_argument("--count", type=int, default=60, help="batches of a stream")
    options = parser.parse_args()
    sides = {name: Side(options.file, **how) for name, how in SIDES.items()}
    found: dict[str, Any] = {}
    for batch in options.batches:
        for size, shape in SIZES.items():
            whole = drawn(shape, 8)
            images = [whole[index % 8] for index in range(batch)]
            row: dict[str, Any] = found.setdefault(f"{size} {batch}", {})
            for turn in range(2):
                for name in sides if turn else reversed(sides):
                    row[name] = min(row.get(name, np.inf), sides[name].milliseconds(images, options.count))
            row["way"] = sides["chosen"].taken(images)
            print(time.strftime("%H:%M:%S"), f"{size} {batch}", json.dumps(row), flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps({"streams": found}))
    for side in sides.values():
        side.model.close()
    finish("pageable_streams", options.json, {**machine("numpy"), "streams": found})


if __name__ == "__main__":
    main()
