"""Ways to bring one image in pageable memory to the GPU, in turns: milliseconds of a call.

::

    python -m benchmarks.inference.pageable_ways best.engine --json FILE

Each way gives the boxes of the first, or the row says so.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import adaptrt
from adaptrt.backends.tensorrt.runtime import image_batch, images, placed_images
from benchmarks.common.results import arguments, finish, machine
from benchmarks.inference.end_to_end import SIZES, drawn

WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "one thread": {"part": 1 << 40},
    "driver": {"locked": lambda _, pixels: True},  # noqa: ARG005 - it replaces a method
    "resized on the CPU": {"copied": 0},
    "rows always": {"copied": 64},
}
PART, COPIED, LOCKED = image_batch._PART, placed_images._COPIED, images.DeviceImages.is_page_locked


def use(model: Any, part: int = PART, copied: int = COPIED, locked: Any = LOCKED) -> None:
    image_batch._PART, placed_images._COPIED = part, copied
    images.DeviceImages.is_page_locked = locked  # type: ignore[method-assign]
    model.runner._images._forget()


def measure(model: Any, image: np.ndarray, seconds: float, rounds: int = 4) -> dict[str, Any]:
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    boxes: dict[str, Any] = {}
    for number in range(rounds):
        for way in WAYS if number % 2 else reversed(WAYS):
            use(model, **WAYS[way])
            for _ in range(6):
                boxes[way] = model(image)[0].boxes
            until = time.perf_counter() + seconds / rounds
            while time.perf_counter() < until:
                started = time.perf_counter()
                model(image)
                times[way].append(time.perf_counter() - started)
    return {
        way: {"p50": 1e3 * float(np.median(one)), "same": bool(np.array_equal(boxes[way], boxes["default"]))}
        for way, one in times.items()
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("file", help="an engine")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way")
    options = parser.parse_args()
    with adaptrt.load(options.file, allow_host_code=True) as model:
        found = {size: measure(model, drawn(SIZES[size], 1)[0], options.seconds) for size in SIZES}
    for size, ways in found.items():
        print(size, {way: round(one["p50"], 2) for way, one in ways.items()})
    finish("pageable_ways", options.json, {**machine("numpy"), "ways": found})


if __name__ == "__main__":
    main()
