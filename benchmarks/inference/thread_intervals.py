"""Calls of eight threads, by the interval after which a thread that waits for Python's interpreter lock asks for it.

::

    python -m benchmarks.inference.thread_intervals best.engine [--threads 8] [--json FILE]

Calls per second on an image of 720p, one by one (``default``) and with ``join_calls=8`` (``joined``), and of the engine only (``alone``), with
``sys.setswitchinterval`` of 5 ms, Python's default, and less. In turns, each in another order.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.inference.end_to_end import MEMORIES, Work
from benchmarks.inference.thread_rates import rate
from benchmarks.inference.thread_ways import alone, arguments, median_rates, opened

INTERVALS = (5.0, 1.0, 0.5)  # ms


def main() -> None:
    options = arguments(__doc__, "thread_intervals", threads=[8], seconds=0.4).parse_args()
    options.batches, options.lines = [1], None
    work, found = Work(options), {"numpy": np.__version__}  # type: ignore[var-annotated]
    models = {"default": opened(work), "joined": opened(work, join=min(8, work.model.largest_batch))}
    images = {memory: work.images("720p", memory, 1)[0] for memory in MEMORIES}
    calls: dict[str, Callable[[], Any]] = {"alone": alone(work, None)}
    calls |= {
        f"{name}, {memory}": partial(model, image) for memory, image in images.items() for name, model in models.items()
    }

    def rate_of(call: Callable[[], Any], milliseconds: float, count: int) -> float:
        kept = sys.getswitchinterval()
        sys.setswitchinterval(1e-3 * milliseconds)
        try:
            return rate(work, call, count)
        finally:
            sys.setswitchinterval(kept)

    for count in options.threads:
        for call in calls.values():
            rate(work, call, count)  # contexts and graphs of all threads
        rates = {
            f"{name}, {milliseconds:g} ms": partial(rate_of, call, milliseconds, count)
            for name, call in calls.items()
            for milliseconds in INTERVALS
        }
        found[f"{count} threads"] = median_rates(rates, options.turns, shuffled=True)
        print(f"{count} threads", json.dumps(found[f"{count} threads"]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
