"""Calls of several threads that run as one batch: who runs it, and whose result and error is whose."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from forked import forks, succeeds_in_fork
from patience import HANG, wait_until

from adaptrt import ModelSpec
from adaptrt.errors import ImageError
from adaptrt.pipeline.batches import BatchResult, Timing
from adaptrt.pipeline.joined_calls import JoinedCalls

SPEC = ModelSpec(inputs=())


class Runs:
    """Runs that each wait for a release of ``go``. The prediction for an image is its double; ``bad`` images raise an error."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.go = threading.Semaphore(0)
        self.bad: set[Any] = set()

    def __call__(self, images: Sequence[Any], spec: ModelSpec) -> Any:
        self.batches.append(list(images))
        return lambda: self.finish(images)

    def finish(self, images: Sequence[Any]) -> BatchResult:
        assert self.go.acquire(timeout=HANG)
        if self.bad & set(images):
            raise ImageError(f"{sorted(self.bad & set(images))}")
        return doubles(images)


def doubles(images: Sequence[Any]) -> BatchResult:
    return BatchResult([2 * image for image in images], Timing(0, 0, 0), ())  # type: ignore[misc]


def start(
    pool: ThreadPoolExecutor, joined: JoinedCalls, runs: Runs, images: Sequence[int], spec: ModelSpec = SPEC
) -> list[Future[Any]]:
    """Calls of as many threads, in this order: the first runs alone, the others wait."""
    found = []
    for image in images:
        running, before = len(runs.batches), len(joined._state.waiting)
        found.append(pool.submit(joined, image, spec))
        wait_until(lambda: len(runs.batches) > running or len(joined._state.waiting) > before, "the call")  # noqa: B023
    return found


def end_one(runs: Runs) -> None:
    """End one of those in progress, and wait for the next to begin."""
    begun = len(runs.batches)
    runs.go.release()
    wait_until(lambda: len(runs.batches) > begun, "the next batch")


@pytest.fixture
def pool() -> Any:
    with ThreadPoolExecutor(24) as pool:
        yield pool


def test_calls_that_wait_run_together(pool: ThreadPoolExecutor) -> None:
    """The first runs alone, since nothing else had begun."""
    runs = Runs()
    joined = JoinedCalls(runs, 4)
    calls = start(pool, joined, runs, range(7))
    assert runs.batches == [[0]]
    end_one(runs)
    assert runs.batches[1] == [1, 2, 3, 4]
    end_one(runs)
    assert runs.batches[2] == [5, 6]
    runs.go.release()
    results = [call.result(HANG) for call in calls]
    assert [one.predictions for one in results] == [[2 * image] for image in range(7)]
    assert len(runs.batches) == 3
    assert joined.idle


def test_a_large_batch_has_one_of_few_sizes(pool: ThreadPoolExecutor) -> None:
    """Each size has a CUDA graph of its own."""
    runs = Runs()
    joined = JoinedCalls(runs, 16)
    calls = start(pool, joined, runs, range(1 + 14))
    end_one(runs)
    end_one(runs)
    assert runs.batches[1:] == [list(range(1, 9)), list(range(9, 15))]
    runs.go.release()
    assert [call.result(HANG).predictions[0] for call in calls] == [2 * image for image in range(15)]


@forks
def test_a_forked_process_waits_for_no_batch_of_its_parent(pool: ThreadPoolExecutor) -> None:
    runs = Runs()
    joined = JoinedCalls(runs, 4)
    calls = start(pool, joined, runs, range(2))

    def call() -> bool:
        runs.go.release()
        return joined(7, SPEC).predictions == [14]  # type: ignore[comparison-overlap]

    assert succeeds_in_fork(call, [joined._lock])
    runs.go.release(2)
    assert [call.result(HANG).predictions for call in calls] == [[0], [2]]


def test_other_parameters_are_another_batch(pool: ThreadPoolExecutor) -> None:
    runs, other = Runs(), ModelSpec(inputs=(), task="values")
    joined = JoinedCalls(runs, 8)
    calls = start(pool, joined, runs, range(2))
    calls += start(pool, joined, runs, [2], other)
    calls += start(pool, joined, runs, [3])
    end_one(runs)
    end_one(runs)
    assert runs.batches[1:] == [[1, 3], [2]]
    runs.go.release()
    assert [call.result(HANG).predictions[0] for call in calls] == [0, 2, 4, 6]


def test_only_the_image_that_fails_has_the_error(pool: ThreadPoolExecutor) -> None:
    runs = Runs()
    runs.bad = {3}
    joined = JoinedCalls(runs, 4)
    calls = start(pool, joined, runs, range(6))
    runs.go.release(20)
    with pytest.raises(ImageError, match="3"):
        calls[3].result(HANG)
    assert [call.result(HANG).predictions[0] for call in calls if call is not calls[3]] == [0, 2, 4, 8, 10]
    assert joined(7, SPEC).predictions == [14], "it still runs"


def test_a_second_batch_runs_beside_the_first_once_it_is_as_large(pool: ThreadPoolExecutor) -> None:
    """Two batches are in progress, each with half of the calls: one is decoded while the other is on the GPU."""
    runs = Runs()
    joined = JoinedCalls(runs, 8, at_once=2)
    calls = start(pool, joined, runs, range(2))
    assert runs.batches == [[0], [1]], "as many as the first has"
    calls += start(pool, joined, runs, range(2, 8))
    assert len(runs.batches) == 2, "no third one"
    end_one(runs)
    assert sorted(runs.batches[2]) == [2, 3, 4, 5], "half of the 7 that are left"
    assert joined._state.waiting[0].given == 6
    calls += start(pool, joined, runs, [8])
    runs.go.release()
    wait_until(lambda: sum(call.done() for call in calls) == 2, "the second result")
    assert len(runs.batches) == 3, "one runs with 4 calls, and 3 wait"
    calls += start(pool, joined, runs, [9])
    assert len(runs.batches) == 4
    assert sorted(runs.batches[3]) == [6, 7, 8, 9]
    runs.go.release(2)
    assert [call.result(HANG).predictions[0] for call in calls] == [2 * image for image in range(10)]
    wait_until(lambda: joined.idle, "the end")


def test_calls_with_other_parameters_do_not_overtake_one_for_ever(pool: ThreadPoolExecutor) -> None:
    """The call that has waited longest runs next, although one that comes later could begin a batch by itself."""
    runs, other = Runs(), ModelSpec(inputs=(), task="values")
    joined = JoinedCalls(runs, 8, at_once=2)
    calls = start(pool, joined, runs, [0, 1])
    calls += start(pool, joined, runs, [2], other)
    calls += start(pool, joined, runs, [3, 4])
    end_one(runs)
    assert runs.batches[2] == [2]
    runs.go.release(20)
    assert [call.result(HANG).predictions[0] for call in calls] == [0, 2, 4, 6, 8]


def test_calls_that_wait_prepare_their_images_in_their_own_threads(pool: ThreadPoolExecutor) -> None:
    """And a result is that of the image which the caller gave."""
    runs, threads = Runs(), []

    def ahead(image: int, spec: ModelSpec) -> int:
        threads.append(threading.get_ident())
        if image == 3:
            raise ImageError("cannot be read")
        return 100 * image

    joined = JoinedCalls(runs, 4, ahead=ahead)
    calls = start(pool, joined, runs, range(3))
    assert runs.batches == [[0]], "nothing was in progress: no other thread has to wait for the image"
    assert len(set(threads)) == 2
    broken = pool.submit(joined, 3, SPEC)
    with pytest.raises(ImageError, match="cannot be read"):
        broken.result(HANG)
    end_one(runs)
    runs.go.release()
    assert [call.result(HANG).predictions[0] for call in calls] == [0, 200, 400]
    assert runs.batches[1] == [100, 200]


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize("size", [2, 8])
def test_many_threads_at_once(size: int, at_once: int) -> None:
    """Each gets its own results, and no thread is left waiting."""

    def begin(images: Sequence[Any], spec: ModelSpec) -> Any:
        time.sleep(0.0001)
        assert len(images) <= size

        def finish() -> BatchResult:
            time.sleep(0.0002)
            return doubles(images)

        return finish

    joined = JoinedCalls(begin, size, at_once=at_once, ahead=lambda image, spec: image)

    def calls(thread: int) -> bool:
        return all(joined(1000 * thread + one, SPEC).predictions == [2 * (1000 * thread + one)] for one in range(100))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(calls, range(8), timeout=HANG))
    assert joined.idle


INTERRUPTED = """
import signal, sys, threading, time
from adaptrt import ModelSpec
from adaptrt.pipeline.batches import BatchResult, Timing
from adaptrt.pipeline.joined_calls import JoinedCalls

go, spec = threading.Event(), ModelSpec(inputs=())

def begin(images, spec):
    def finish():
        go.wait()
        if main_leads and threading.current_thread() is threading.main_thread():
            signal.raise_signal(signal.SIGINT)
            time.sleep(1)
        return BatchResult([2 * one for one in images], Timing(0, 0, 0), ())
    return finish

main_leads = sys.argv[1] == "leads"
joined = JoinedCalls(begin, 4)
found = {}
def call(image):
    found[image] = joined(image, spec).predictions[0]

def call_in_a_thread(image):
    threading.Thread(target=call, args=(image,)).start()

def others():
    while not joined._state.waiting:
        time.sleep(0.001)
    for image in (1, 3, 4):
        call_in_a_thread(image)
    while len(joined._state.waiting) < 4:
        time.sleep(0.001)
    if not main_leads:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        while len(joined._state.waiting) > 3:
            time.sleep(0.001)
    go.set()

call_in_a_thread(0)
while not joined._state.running:
    time.sleep(0.001)
threading.Thread(target=others).start()
try:
    joined(2, spec)
except KeyboardInterrupt:
    print("interrupted")
while len(found) < 4:
    time.sleep(0.001)
while not joined.idle:
    time.sleep(0.001)
print(sorted(found.items()))
"""


@pytest.mark.parametrize("main", ["leads", "waits"])
def test_ctrl_c_in_one_thread_leaves_none_waiting(main: str) -> None:
    ended = subprocess.run([sys.executable, "-c", INTERRUPTED, main], capture_output=True, text=True, timeout=HANG)
    assert ended.stdout.splitlines()[0] == "interrupted", ended.stderr
    assert ended.stdout.splitlines()[1].startswith("[(0, 0), (1, 2), (3, 6), (4, 8)]"), ended.stdout
