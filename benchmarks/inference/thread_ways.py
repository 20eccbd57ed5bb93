"""Calls per second of threads that each wait for their own result, in the ways that they could share an engine.

::

    python -m benchmarks.inference.thread_ways best.engine [--threads 8 4] [--memories device pageable] [--json FILE]

In turns, on an image of 720p. The first three are what the product does; the others are experiments. All but the joined ones run each
image alone, so that results do not depend on other calls:

- ``separate``: the default
- ``joined``: ``join_calls=8``; ``joined, one batch at a time``
- ``at most 4``: others wait until one of so many calls has ended; ``at most 4, then decoded``: or has its outputs
- ``led by 2, 4 each``: two threads start and wait for the runs of those that wait, four at a time; each thread decodes its own outputs
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

import adaptrt
from adaptrt.pipeline.batches import BatchPipeline, BatchResult
from adaptrt.pipeline.joined_calls import JoinedCalls
from adaptrt.pipeline.load import Model
from benchmarks.inference.end_to_end import Work, file_alone, rate

Decode = Callable[[], BatchResult]


class Stages:
    """The steps of one call with one image."""

    def __init__(self, pipeline: BatchPipeline, spec: Any) -> None:
        assert pipeline._preparer is not None, "threads share an engine; an ONNX file has no such steps"
        self.batches, self.known = pipeline._preparer, pipeline._of(spec)

    def write(self, image: Any) -> Any:
        with self.batches.calling:
            return self.batches.write([image], self.known)

    def start(self, written: Any, *, wait: bool = True) -> Any:
        return self.batches.start(written, self.known, wait=wait)

    def outputs(self, started: Any) -> Decode:
        """Waits for them; the function returned decodes them."""
        outputs = started.run.result()
        ran = time.perf_counter()
        spec = self.known.selected if started.run.suppressed else self.known.spec
        seconds = (started.seconds, ran - started.started)
        return partial(self.batches._predicted, started.images, outputs, started.metas, seconds, ran, self.known, spec)


class AtMost:
    """So many calls at once; ``whole``: until a call has been decoded."""

    def __init__(self, stages: Stages, count: int, *, whole: bool) -> None:
        self._stages, self._whole = stages, whole
        self._turns: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._turns.put(None)

    def __call__(self, image: Any, spec: Any) -> BatchResult:  # noqa: ARG002 - as JoinedCalls
        stages = self._stages
        self._turns.get()
        try:
            decode = stages.outputs(stages.start(stages.write(image)))
            if self._whole:
                return decode()
        finally:
            self._turns.put(None)
        return decode()


class Led(JoinedCalls):
    """Runs calls of several threads in the thread of one of them, each alone; a thread wakes when its outputs are there, and decodes them."""

    def __init__(self, stages: Stages, each: int) -> None:
        super().__init__(self._begin_each, each, at_once=2)  # type: ignore[arg-type]
        self._stages = stages

    def __call__(self, image: Any, spec: Any) -> BatchResult:
        return super().__call__(image, spec)()  # type: ignore[operator, no-any-return]

    def _begin_each(self, images: Sequence[Any], spec: Any) -> Iterator[Decode]:  # noqa: ARG002 - as of JoinedCalls
        waiting, running = deque(map(self._stages.write, images)), deque[Any]()
        self._start_free(waiting, running)
        return self._ended(waiting, running)

    def _ended(self, waiting: deque[Any], running: deque[Any]) -> Iterator[Decode]:
        while running:
            decode = self._stages.outputs(running.popleft())
            self._start_free(waiting, running)
            yield decode

    def _start_free(self, waiting: deque[Any], running: deque[Any]) -> None:
        while waiting and (started := self._stages.start(waiting[0], wait=not running)) is not None:
            waiting.popleft()
            running.append(started)

    def _answer(self, batch: Sequence[Any], finish: Any) -> None:
        leader = batch[0]
        for one, decode in zip(batch, finish, strict=True):
            one.result = decode
            if one is not leader:
                one.woken.release()

    def _answer_each(self, batch: Sequence[Any], error: Exception) -> None:  # noqa: ARG002 - an experiment has no errors
        raise error

    def _pass_on(self, others: Sequence[Any]) -> None:  # noqa: ARG002 - they are awake
        with self._lock:
            leader = self._next_leader()
        if leader is not None:
            leader.woken.release()


class Timed:
    """Separate calls; keeps the seconds of each stage, on the clock and of the processor."""

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self.seconds: list[tuple[float, ...]] = []

    def __call__(self, image: Any, spec: Any) -> BatchResult:  # noqa: ARG002 - as JoinedCalls
        stages, times = self._stages, [(time.perf_counter(), time.thread_time())]

        def ended(value: Any) -> Any:
            times.append((time.perf_counter(), time.thread_time()))
            return value

        decode = ended(stages.outputs(ended(stages.start(ended(stages.write(image))))))
        result: BatchResult = ended(decode())
        self.seconds.append(tuple(b - a for one, two in pairwise(times) for a, b in zip(one, two, strict=True)))
        return result


def ways(work: Work) -> dict[str, Model]:
    largest = work.model.largest_batch

    def opened(*, short: bool = True, contexts: int = 4, join: int = 1, make: Any = None) -> Model:
        model = adaptrt.load(work.options.file, allow_host_code=True, join_calls=min(join, largest))
        runner: Any = model.runner
        runner._pool._limit = contexts
        if not short:
            runner._cuda._short = None
        if make is not None:
            model._joined = make(Stages(model._pipeline, model.spec))  # type: ignore[no-untyped-call]
        return model

    return {
        "released": opened(short=False),
        "released, 8 contexts": opened(short=False, contexts=8),
        "released, joined": opened(short=False, join=8),
        "released, led by 2": opened(short=False, contexts=8, make=lambda stages: Led(stages, 4)),
        "held": opened(),
        "held, 6 contexts": opened(contexts=6),
        "held, 8 contexts": opened(contexts=8),
        "held, 12 contexts": opened(contexts=12),
        "held, 8 contexts, switch": opened(contexts=8),
        "held, joined": opened(join=8),
        "held, led by 2": opened(contexts=8, make=lambda stages: Led(stages, 4)),
        "held, at most 4": opened(contexts=4, make=lambda stages: AtMost(stages, 4, whole=False)),
        "held, at most 6": opened(contexts=6, make=lambda stages: AtMost(stages, 6, whole=False)),
    }


def alone(work: Work) -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {}
    for short in (False, True):
        for contexts in (4, 8):
            work.model = adaptrt.load(work.options.file, allow_host_code=True)
            runner: Any = work.model.runner
            runner._pool._limit = contexts
            if not short:
                runner._cuda._short = None
            call, last = file_alone(work, 1)
            name = f"alone, {'held' if short else 'released'}, {contexts}"
            found[name] = partial(lambda call, last: last(call()), call, last)
    return found


def stage_times(work: Work, image: Any, count: int) -> dict[str, list[float]]:
    """us of write, start, outputs, decode: clock and processor, of the mean call."""
    found = {}
    for name, short, contexts in (("released", False, 4), ("held", True, 4), ("held, 8 contexts", True, 8)):
        model = adaptrt.load(work.options.file, allow_host_code=True)
        runner: Any = model.runner
        runner._pool._limit = contexts
        if not short:
            runner._cuda._short = None
        timed = Timed(Stages(model._pipeline, model.spec))  # type: ignore[no-untyped-call]
        model._joined = timed  # type: ignore[assignment]
        rate(work, partial(model, image), count)
        timed.seconds.clear()
        found[name] = [rate(work, partial(model, image), count)]
        found[name] += [round(1e6 * float(one), 1) for one in np.mean(timed.seconds, axis=0)]
    return found


def lock(seconds: float = 0.4) -> dict[str, float]:
    """us of a turn of about 20 us of Python and one call into C, of one thread and of eight, which share the lock."""
    found = {}
    for name, library in (("held", ctypes.PyDLL(None)), ("released", ctypes.CDLL(None))):
        call = library.getppid
        for count in (1, 2, 4, 8):
            turns, until = [0] * count, time.perf_counter() + seconds

            def loop(index: int, turns: list[int] = turns, until: float = until, call: Any = call) -> None:
                while time.perf_counter() < until:
                    for _ in range(400):
                        pass
                    call()
                    turns[index] += 1

            threads = [threading.Thread(target=loop, args=(index,)) for index in range(count)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            found[f"{name} {count}"] = round(1e6 * seconds / sum(turns), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="an engine whose batch can be 8")
    parser.add_argument("--threads", type=int, nargs="+", default=[8, 4])
    parser.add_argument("--memories", nargs="+", choices=["device", "pageable"], default=["device", "pageable"])
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/thread_ways"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.batches, options.lines = [1], None
    work, found = Work(options), {}
    found["lock"] = lock()
    print(found["lock"], flush=True)
    models, files = ways(work), alone(work)
    for count in options.threads:
        rates = {name: [] for name in files}
        for _ in range(options.turns):
            for name, call in files.items():
                rates[name].append(rate(work, call, count))
        found[f"alone {count}"] = {name: [round(one) for one in some] for name, some in rates.items()}
        print(time.strftime("%H:%M:%S"), count, {name: round(float(np.median(some))) for name, some in rates.items()}, flush=True)
        if count == 8:
            for memory in options.memories:
                found[f"stages {memory}"] = stage_times(work, work.images("720p", memory, 1)[0], count)
                print(memory, found[f"stages {memory}"], flush=True)
    for model in models.values():  # contexts and graphs of all threads
        for memory in options.memories:
            rate(work, partial(model, work.images("720p", memory, 1)[0]), max(options.threads))
    print(time.strftime("%H:%M:%S"), "ready", flush=True)
    for count in options.threads:
        for memory in options.memories:
            image = work.images("720p", memory, 1)[0]
            boxes = {name: len(model(image)[0]) for name, model in models.items()}  # type: ignore[arg-type]
            assert len(set(boxes.values())) == 1, boxes
            rates = {name: [] for name in models}
            for _ in range(options.turns):
                for name, model in models.items():
                    sys.setswitchinterval(2e-4 if "switch" in name else 5e-3)
                    rates[name].append(rate(work, partial(model, image), count))
            sys.setswitchinterval(5e-3)
            found[f"{memory} {count}"] = {name: [round(one) for one in some] for name, some in rates.items()}
            medians = {name: round(float(np.median(some))) for name, some in rates.items()}
            print(time.strftime("%H:%M:%S"), memory, count, medians, flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
