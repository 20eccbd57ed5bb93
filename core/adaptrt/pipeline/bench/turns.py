"""Calls measured in turns: a machine that becomes slower affects all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from adaptrt.pipeline.bench.records import Measured

K = TypeVar("K")
Call = Callable[[], Any]
WARM, MOST = 3, 1000  # calls before the first turn, and at most in one turn of a thread
_SETTLED = 0.06  # seconds for which threads of ONNX Runtime keep a core busy after a run, and those of torch for a shorter time


@dataclass
class Times:
    """Seconds of each call by turn, the seconds that each turn took, and what the calls returned."""

    turns: list[list[float]] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)

    def measured(self, images: int) -> Measured:
        """``images``: per call."""
        everything = [1000 * one for turn in self.turns for one in turn]
        p50, p90, p99 = map(float, np.percentile(everything, (50, 90, 99)))
        medians = tuple(float(np.median(turn)) * 1000 for turn in self.turns)
        return Measured(p50, p90, p99, len(everything), images * len(everything) / sum(self.walls), medians)


def in_turns(
    calls: Mapping[K, Call],
    *,
    turns: int,
    seconds: float,
    threads: int = 1,
    on_turn: Callable[[int], None] = lambda _: None,
    runs_in: Callable[[K], object] = lambda _: None,
) -> dict[K, Times]:
    """The times of each call: ``turns`` turns, of ``seconds`` in all, each from ``threads`` threads at once.

    The order is reversed in every other turn. Where what a call ``runs_in`` changes, the first calls are not timed.
    """
    last = None
    counts = {key: _calls_per_turn(call, seconds / turns) for key, call in calls.items()}
    times = {key: Times() for key in calls}
    with ThreadPoolExecutor(threads, thread_name_prefix="adaptrt-bench") as pool:
        if threads > 1:
            for call in calls.values():  # memory and contexts of further threads
                _turn(call, 2, threads, pool)
        for turn in range(turns):
            for key in calls if turn % 2 else reversed(list(calls)):
                if last not in (None, runs_in(key)):
                    _settle(calls[key])
                last = runs_in(key)
                found, wall = _turn(calls[key], counts[key], threads, pool)
                times[key].turns.append([spent for spent, _ in found])
                times[key].walls.append(wall)
                times[key].results += [result for _, result in found]
            on_turn(turn + 1)
    return times


def _calls_per_turn(call: Call, seconds: float) -> int:
    """How many calls fit into a turn, from the last call of the warm-up."""
    spent = 0.0
    for _ in range(WARM):
        started = time.perf_counter()
        call()
        spent = time.perf_counter() - started
    return max(1, min(MOST, int(seconds / max(spent, 1e-9))))


def _settle(call: Call) -> None:
    until = time.perf_counter() + _SETTLED
    call()
    while time.perf_counter() < until:
        call()


def _turn(call: Call, count: int, threads: int, pool: ThreadPoolExecutor) -> tuple[Sequence[tuple[float, Any]], float]:
    """Seconds and result of each call, and the seconds until all were done."""
    if threads == 1:
        found = _repeat(call, count)
        return found, sum(spent for spent, _ in found)
    gate = threading.Barrier(threads + 1)

    def work() -> list[tuple[float, Any]]:
        gate.wait()
        return _repeat(call, count)

    futures = [pool.submit(work) for _ in range(threads)]
    gate.wait()
    started = time.perf_counter()
    found = [one for future in futures for one in future.result()]
    return found, time.perf_counter() - started


def _repeat(call: Call, count: int) -> list[tuple[float, Any]]:
    found = []
    for _ in range(count):
        started = time.perf_counter()
        result = call()
        found.append((time.perf_counter() - started, result))
    return found
