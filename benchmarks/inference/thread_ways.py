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
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

import adaptrt
from adaptrt.pipeline.batches import BatchPipeline, BatchResult
from adaptrt.pipeline.joined_calls import JoinedCalls
from adaptrt.pipeline.load import Model
from benchmarks.inference.end_to_end import Work, rate

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


def ways(work: Work) -> dict[str, Model]:
    largest = work.model.largest_batch

    def opened(join: int = 1) -> Model:
        return adaptrt.load(work.options.file, allow_host_code=True, join_calls=min(join, largest))

    found = {"separate": opened(), "joined": opened(8), "joined, one batch at a time": opened(8)}
    joined = found["joined, one batch at a time"]._joined
    assert joined is not None
    joined._at_once = 1
    for name, make in {
        "at most 4": lambda stages: AtMost(stages, 4, whole=True),
        "at most 4, then decoded": lambda stages: AtMost(stages, 4, whole=False),
        "led by 2, 4 each": lambda stages: Led(stages, 4),
        "led by 2, 2 each": lambda stages: Led(stages, 2),
    }.items():
        model = found[name] = opened()
        model._joined = make(Stages(model._pipeline, model.spec))  # type: ignore[assignment, no-untyped-call]
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
    models = ways(work)
    for count in options.threads:
        for memory in options.memories:
            image = work.images("720p", memory, 1)[0]
            boxes = {name: len(model(image)[0]) for name, model in models.items()}  # type: ignore[arg-type]
            assert len(set(boxes.values())) == 1, boxes
            rates: dict[str, list[float]] = {name: [] for name in models}
            for _ in range(options.turns):
                for name, model in models.items():
                    rates[name].append(rate(work, partial(model, image), count))
            found[f"{memory} {count}"] = {name: [round(one) for one in some] for name, some in rates.items()}
            medians = {name: round(float(np.median(some))) for name, some in rates.items()}
            print(time.strftime("%H:%M:%S"), memory, count, medians, flush=True)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
