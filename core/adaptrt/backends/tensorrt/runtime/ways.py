"""What happens to an image in pageable memory, and which way is the fastest on this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

Way = Literal["copy", "resize", "send"]
"""Of an image in pageable memory: its used rows are copied to page-locked memory, the CPU resizes it, or the driver copies it."""
_TRIES = 4  # of each way


class FastestWay:
    """Which way images of one size take. All give the same pixels; the first batches try each, and then the fastest is taken.

    What is fastest depends on the memory, the cores and the driver of a machine, not only on the size. A way other than the first has to be
    ``handicap`` times as fast as it.
    """

    def __init__(self, ways: Sequence[Way], handicap: float = 1) -> None:
        self._first, self._handicap = ways[0], handicap
        self.chosen = ways[0]
        self._best = dict.fromkeys(ways, math.inf)
        self._left = list(ways)[::-1] * _TRIES if len(ways) > 1 else []

    def next(self) -> tuple[Way, bool]:
        """The way of the next batch, and whether to report its time with ``took``."""
        try:
            return self._left.pop(), True
        except IndexError:
            return self.chosen, False

    def took(self, way: Way, seconds: float) -> None:
        """Of an image, on the host; the device is not waited for."""
        seconds *= 1 if way == self._first else self._handicap
        if seconds < self._best[way]:
            self._best[way] = seconds
            self.chosen = min(self._best, key=self._best.__getitem__)


class Trial:
    """A way that is tried for the images of one size in a batch."""

    def __init__(self, ways: FastestWay, way: Way) -> None:
        self._ways, self._way = ways, way
        self._spans: list[tuple[float, float]] = []

    def timed(self, work: Callable[[], Any]) -> None:
        """Called by several threads, each with a part of the work."""
        started = time.perf_counter()
        work()
        self._spans.append((started, time.perf_counter()))

    def report(self, images: int) -> None:
        """The time of each of so many images, from the first work to the last; waiting for the threads does not count."""
        if self._spans:
            begun, ended = min(self._spans)[0], max(end for _, end in self._spans)
            self._ways.took(self._way, (ended - begun) / images)


class Chosen(NamedTuple):
    """The way of the images of one size in a batch, the trial if there is one, and the places of the images."""

    way: Way
    trial: Trial | None
    images: list[int]
