"""Ways to bring one image in pageable memory to the GPU, in turns: milliseconds of a call.

::

    python -m benchmarks.inference.pageable_ways best.engine --json FILE

``chosen`` is what adaptrt takes after it has tried the others. Each way gives the boxes of the first, or the row says so.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import adaptrt
from adaptrt.backends.tensorrt.runtime import image_batch, placed_images
from adaptrt.backends.tensorrt.runtime.ways import FastestWay
from benchmarks.common.results import arguments, finish, machine
from benchmarks.inference.end_to_end import SIZES, drawn

PART, WAYS = image_batch._PART, placed_images._ways
SIDES: dict[str, dict[str, Any]] = {
    "chosen": {},
    "copied": {"way": "copy"},
    "copied by one thread": {"way": "copy", "part": 1 << 40},
    "resized on the CPU": {"way": "resize"},
    "copied by the driver": {"way": "send"},
}


class Side:
    """A model that brings images to the GPU in one way."""

    def __init__(self, file: str, way: Any = None, part: int = PART) -> None:
        self.model = adaptrt.load(file, allow_host_code=True)
        self._way, self._part = way, part

    def __call__(self, image: np.ndarray) -> Any:
        image_batch._PART = self._part
        placed_images._ways = WAYS if self._way is None else lambda rows: FastestWay([self._way])  # noqa: ARG005
        return self.model(image)[0]

    def taken(self, image: np.ndarray) -> str:
        batch = self.model.runner.image_batch(self.model.spec, 1)  # type: ignore[attr-defined]
        ways = batch.prepared.placed(image.shape[:2]).ways
        batch.release()
        return "resize" if ways is None else str(ways.chosen)


def measure(sides: dict[str, Side], image: np.ndarray, seconds: float, rounds: int = 4) -> dict[str, Any]:
    times: dict[str, list[float]] = {name: [] for name in sides}
    boxes: dict[str, Any] = {}
    for side in sides.values():
        for _ in range(16):
            side(image)
    for number in range(rounds):
        for name in sides if number % 2 else reversed(sides):
            for _ in range(6):
                boxes[name] = sides[name](image).boxes
            until = time.perf_counter() + seconds / rounds
            while time.perf_counter() < until:
                started = time.perf_counter()
                sides[name](image)
                times[name].append(time.perf_counter() - started)
    found: dict[str, Any] = {
        name: {"p50": 1e3 * float(np.median(one)), "same": bool(np.array_equal(boxes[name], boxes["chosen"]))}
        for name, one in times.items()
    }
    found["chosen"]["way"] = sides["chosen"].taken(image)
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("file", help="an engine")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way")
    options = parser.parse_args()
    sides = {name: Side(options.file, **how) for name, how in SIDES.items()}
    found = {}
    for size, shape in SIZES.items():
        found[size] = measure(sides, drawn(shape, 1)[0], options.seconds)
        print(size, {way: round(one["p50"], 2) for way, one in found[size].items()}, found[size]["chosen"], flush=True)
    for side in sides.values():
        side.model.close()
    finish("pageable_ways", options.json, {**machine("numpy"), "ways": found})


if __name__ == "__main__":
    main()
