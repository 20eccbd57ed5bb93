"""Calls of many threads with images in pageable memory: who copies them to page-locked memory.

::

    python -m benchmarks.inference.thread_copies best.engine [--sizes 720p] [--threads 8 16 4] [--json FILE]

Calls per second, one by one (``default``) and with ``join_calls=8`` (``joined``): with an image in ``pageable`` memory, which its thread copies if it has
256 KiB or more and less than 4 MiB, one that the thread that runs the call copies (``one copies``), one that each thread has ``copied`` to
page-locked memory before the call, and one that is ``page-locked``. ``alone``: the engine only, at batch 1, with four contexts and with
eight; ``copies``: only the copies. In turns, each in another order; what comes first after another one does not count.

The results kept of the first two machines are of one order, without ``one copies``. On the first, ``pageable`` is what ``one copies`` is now, except for
images of 1080p one by one, which threads already wrote themselves. On the others, threads also copied when two call at once.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.inference.end_to_end import Work, rate
from benchmarks.inference.thread_ways import alone, arguments, median_rates, one_copies, opened

SETTLE = 0.05  # seconds that do not count


class Copies:
    """Copies of one image: each thread has a separate array."""

    def __init__(self, work: Work, size: str, count: int) -> None:
        self.image = work.images(size, "pageable", 1)[0]
        self._arrays = work.images(size, "pinned", count)
        self._numbers, self._own = itertools.count(), threading.local()

    def __call__(self) -> Any:
        found = getattr(self._own, "array", None)
        if found is None:
            found = self._own.array = self._arrays[next(self._numbers) % len(self._arrays)]
        np.copyto(found, self.image)
        return found


def main() -> None:
    parser = arguments(__doc__, "thread_copies", threads=[8, 16, 4], seconds=0.2, turns=7)
    parser.add_argument("--sizes", nargs="+", default=["720p", "1080p"])
    options = parser.parse_args()
    options.batches, options.lines = [1], None
    work, most, found = Work(options), max(options.threads), {}  # type: ignore[var-annotated]
    models = {"default": (opened(work), one_copies(opened(work)))}
    models["joined"] = (opened(work, join=8), one_copies(opened(work, join=8)))
    files = {"alone": alone(work, None), "alone, 8 contexts": alone(work, 8)}
    for size in options.sizes:
        copied, locked = Copies(work, size, most), work.images(size, "pinned", 1)[0]
        calls: dict[str, Callable[[], Any]] = {**files, "copies": copied}
        for name, (model, one) in models.items():
            calls[f"{name}, pageable"] = partial(model, copied.image)
            calls[f"{name}, one copies"] = partial(one, copied.image)
            calls[f"{name}, copied"] = lambda model=model, copied=copied: model(copied())
            calls[f"{name}, page-locked"] = partial(model, locked)
        for call in calls.values():
            rate(work, call, most)  # contexts and graphs of all threads
        for count in options.threads:
            rates = {name: partial(rate, work, call, count, settle=SETTLE) for name, call in calls.items()}
            name = f"{size}, {count} threads"
            found[name] = median_rates(rates, options.turns, shuffled=True)
            print(time.strftime("%H:%M:%S"), name, found[name], flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
