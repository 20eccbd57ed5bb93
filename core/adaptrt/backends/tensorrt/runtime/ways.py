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

    What is fastest depends on the memory, the cores and the driver of a machine, not only on the size. ``typical`` gives the
    time of a way from its tries. A way other than the first has to be ``handicap`` times as fast as it.
    """

    def __init__(
        self, ways: Sequence[Way], handicap: float = 1, *, typical: Callable[[Sequence[float]], float] = min
    ) -> None:
        self._first, self._handicap, self._typical = ways[0], handicap, typical
        self.chosen = ways[0]
        self._tries: dict[Way, list[float]] = {way: [] for way in ways}
        self._left = list(ways)[::-1] * _TRIES if len(ways) > 1 else []

    def next(self) -> tuple[Way, bool]:
        """The way of the next batch, and whether to report its time with ``took``."""
        try:
            return self._left.pop(), True
        except IndexError:
            return self.chosen, False

    def took(self, way: Way, seconds: float) -> None:
        """Of an image: in a batch on the host, since the device is not waited for; of one alone, until it is on the device."""
        self._tries[way].append(seconds * (1 if way == self._first else self._handicap))
        self.chosen = min(self._tries, key=self._time_of)

    def _time_of(self, way: Way) -> float:
        tries = self._tries[way]
        return self._typical(tries) if tries else math.inf


def lower_median(tries: Sequence[float]) -> float:
    return sorted(tries)[(len(tries) - 1) // 2]


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

    def report(self, images: int, sent: float = 0.0) -> None:
        """The time of each of so many images, from the first work to the last, and ``sent``, of what follows; waiting for threads does not count."""
        worked = max(end for _, end in self._spans) - min(self._spans)[0] if self._spans else 0.0
        if self._spans or sent:
            self._ways.took(self._way, worked / images + sent)
        self._spans = []  # a batch is filled again if no context was free


class Chosen(NamedTuple):
    """The way of the images of one size in a batch, the trial if there is one, and the places of the images."""

    way: Way
    trial: Trial | None
    images: list[int]
