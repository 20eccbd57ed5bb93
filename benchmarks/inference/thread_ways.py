"""Calls of many threads that each wait for their own result: what they cost, and in which ways they could share an engine.

::

    python -m benchmarks.inference.thread_ways best.engine [--threads 8 4] [--memories device pageable] [--json FILE]

On an image of 720p. Calls per second, in turns; all but the joined ones run each image alone, so that results do not depend on other calls:

- ``default``: with more than four calls at once, one thread runs and decodes them, and each thread copies its image to page-locked memory if it has
  256 KiB or more and less than 4 MiB, as it does with three or four calls; in GPU memory, and from 4 MiB on, as in ``they write``;
  ``8 contexts``: with so many instead of four
- ``one copies``: the thread that runs a call also copies the image
- ``they write``: each thread writes what the GPU needs of its image to page-locked memory
- ``each thread``: every thread runs its own calls; ``lock released``: and gives up the interpreter lock for every call of CUDA
- ``joined``: ``join_calls=8``; ``joined, one copies``: the thread that runs a batch copies its images
- ``alone``: the engine only, at batch 1, with as many threads and four contexts, or eight

The engine only, with four contexts and more threads, by when it is the turn of a thread that waits: calls per second, and how even.
And microseconds of the processor: of decoding in threads that do nothing else, and of each stage of a call.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import adaptrt
from adaptrt.backends.tensorrt.runtime import pool
from adaptrt.pipeline import batches
from adaptrt.pipeline.batches import BatchResult
from adaptrt.pipeline.load import Model
from benchmarks.inference.end_to_end import Work, file_alone
from benchmarks.inference.thread_rates import rate

NEVER = 1000
IN_TURN = (0.0, 0.001, 0.005, 0.02, 0.1, float(NEVER))
STAGES = ("write", "start", "wait for outputs", "decode")


def opened(work: Work, *, contexts: int | None = None, join: int = 1) -> Model:
    model = adaptrt.load(work.options.file, allow_host_code=True, join_calls=join)
    if contexts is not None:
        model.runner._pool._limit = contexts  # type: ignore[attr-defined]
    return model


def one_copies(model: Model) -> Model:
    """Threads hand over images in host memory as they are."""
    hand_over = model.runner.handed_over  # type: ignore[attr-defined]
    model.runner.handed_over = lambda image: image if isinstance(image, np.ndarray) else hand_over(image)  # type: ignore[attr-defined]
    return model


def ways(work: Work) -> dict[str, tuple[Model, int, int]]:
    """Each with the number of calls up to which a thread runs its own, and the bytes of an image that it writes itself."""
    many, large, join = batches._SEPARATE, batches._LARGE, min(8, work.model.largest_batch)
    released = opened(work)
    released.runner._cuda._short = None  # type: ignore[attr-defined]
    return {
        "default": (opened(work), many, large),
        "one copies": (one_copies(opened(work)), many, large),
        "8 contexts": (opened(work, contexts=8), many, large),
        "they write": (opened(work), many, 0),
        "each thread": (opened(work), NEVER, large),
        "each thread, 8 contexts": (opened(work, contexts=8), NEVER, large),
        "each thread, lock released": (released, NEVER, large),
        "joined": (opened(work, join=join), many, large),
        "joined, one copies": (one_copies(opened(work, join=join)), many, large),
    }


def alone(work: Work, contexts: int | None) -> Callable[[], Any]:
    work.model = opened(work, contexts=contexts)
    call, last = file_alone(work, 1)
    return lambda: last(call())


def in_turn(work: Work, count: int) -> dict[str, dict[str, float]]:
    """By seconds after which it is the turn of a thread that waits for one of four contexts: calls per second of the engine only, ms of the
    longest one, and the calls of the thread that made fewest as a share of the mean."""
    call = alone(work, None)
    rates: dict[float, list[tuple[float, float, float]]] = {seconds: [] for seconds in IN_TURN}

    def timed(times: dict[int, list[float]]) -> None:
        started = time.perf_counter()
        call()
        times.setdefault(threading.get_ident(), []).append(time.perf_counter() - started)

    kept = pool._IN_TURN
    for _ in range(work.options.turns):
        for pool._IN_TURN in IN_TURN:
            times: dict[int, list[float]] = {}
            found = rate(work, partial(timed, times), count)
            times.pop(threading.get_ident())
            calls = [len(one) for one in times.values()]
            rates[pool._IN_TURN].append(
                (found, 1e3 * max(map(max, times.values())), min(calls) / float(np.mean(calls)))
            )
    pool._IN_TURN = kept
    medians = {str(seconds): np.median(some, axis=0).tolist() for seconds, some in rates.items()}
    return {seconds: dict(zip(("rate", "longest", "fewest"), one, strict=True)) for seconds, one in medians.items()}


def decoding(work: Work, counts: list[int]) -> dict[str, float]:
    """us of the processor for a decoding, of threads that do nothing else."""
    stages = Stages(work.model)
    image = work.images("720p", "pageable", 1)[0]
    decode = stages.outputs(stages.start(stages.write(image)))
    return {str(count): processor_us(decode, count, work.options.seconds) for count in counts}


def processor_us(call: Callable[[], Any], count: int, seconds: float) -> float:
    times: list[tuple[float, int]] = []
    until = time.perf_counter() + seconds

    def loop() -> None:
        started, done = time.thread_time(), 0
        while time.perf_counter() < until:
            call()
            done += 1
        times.append((time.thread_time() - started, done))

    threads = [threading.Thread(target=loop) for _ in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return round(1e6 * sum(spent for spent, _ in times) / sum(done for _, done in times), 1)


class Stages:
    """The steps of one call with one image."""

    def __init__(self, model: Model) -> None:
        pipeline = model._pipeline
        assert pipeline._preparer is not None, "threads share an engine; an ONNX file has no such steps"
        self._batches, self._known = pipeline._preparer, pipeline._of(model.spec)

    def write(self, image: Any) -> Any:
        with self._batches.calling:
            return self._batches.write([image], self._known)

    def start(self, written: Any) -> Any:
        return self._batches.start(written, self._known)

    def outputs(self, started: Any) -> Callable[[], BatchResult]:
        return self._batches.ended(started, self._known)

    def timed(self, image: Any, times: list[tuple[float, ...]]) -> None:
        at = [time.thread_time()]

        def ended(value: Any) -> Any:
            at.append(time.thread_time())
            return value

        decode = ended(self.outputs(ended(self.start(ended(self.write(image))))))
        ended(decode())
        times.append(tuple(end - start for start, end in pairwise(at)))


def stage_times(work: Work, memory: str, counts: list[int]) -> dict[str, dict[str, float]]:
    """us of the processor for each stage, if every thread runs its own calls."""
    stages, image = Stages(opened(work)), work.images("720p", memory, 1)[0]
    found = {}
    for count in counts:
        times: list[tuple[float, ...]] = []
        rate(work, partial(stages.timed, image, times), count)
        means = 1e6 * np.mean(times[len(times) // 2 :], axis=0)
        found[str(count)] = dict(zip(STAGES, np.round(means, 1).tolist(), strict=True))
    return found


def arguments(description: str | None, name: str, *, threads: list[int], seconds: float) -> argparse.ArgumentParser:
    """With the options of a script of this ``name`` that measures calls of threads, and these defaults."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="an engine whose batch can be 8")
    parser.add_argument("--threads", type=int, nargs="+", default=threads)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each measurement")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build") / name)
    parser.add_argument("--json", type=Path)
    return parser


def median_rates(rates: Mapping[str, Callable[[], float]], turns: int, *, shuffled: bool = False) -> dict[str, int]:
    """Each is measured ``turns`` times, in turns; ``shuffled``: each turn has another order."""
    found: dict[str, list[float]] = {name: [] for name in rates}
    for turn in range(turns):
        for name in random.Random(turn).sample(list(rates), len(rates)) if shuffled else rates:
            found[name].append(rates[name]())
    return {name: round(float(np.median(some))) for name, some in found.items()}


def main() -> None:
    parser = arguments(__doc__, "thread_ways", threads=[8, 4], seconds=0.4)
    parser.add_argument(
        "--memories", nargs="+", choices=["device", "pinned", "pageable"], default=["device", "pageable"]
    )
    options = parser.parse_args()
    options.batches, options.lines = [1], None
    work, found, most = Work(options), {}, max(options.threads)  # type: ignore[var-annotated]

    def say(name: str, value: Any) -> None:
        found[name] = value
        print(time.strftime("%H:%M:%S"), name, json.dumps(value), flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n")

    counts = sorted({1, 2, *options.threads})
    say("decoding, us", decoding(work, counts))
    for memory in options.memories:
        say(f"stages {memory}, us", stage_times(work, memory, counts))
    say("in turn", {str(count): in_turn(work, count) for count in options.threads if count > 4})
    models = ways(work)
    files = {"alone": alone(work, None), "alone, 8 contexts": alone(work, 8)}
    images = {memory: work.images("720p", memory, 1)[0] for memory in options.memories}

    def rate_of(name: str, memory: str, count: int) -> float:
        model, batches._SEPARATE, batches._LARGE = models[name]
        return rate(work, partial(model, images[memory]), count)

    for name in models:
        for memory in images:
            rate_of(name, memory, most)  # contexts and graphs of all threads
    for count in options.threads:
        calls: dict[str, Callable[[], float]] = {name: partial(rate, work, call, count) for name, call in files.items()}
        for memory in images:
            calls |= {f"{memory}, {name}": partial(rate_of, name, memory, count) for name in models}
        say(f"{count} threads", median_rates(calls, options.turns))


if __name__ == "__main__":
    main()
