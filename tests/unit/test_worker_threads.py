"""Jobs on several threads: all of them end before anything else goes on, and the first error in order is raised."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import pytest
from patience import HANG, wait_until

from adaptrt import worker_threads
from adaptrt.errors import ImageError, PluginError
from adaptrt.worker_threads import Spread, copying_threads, helping_threads


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_every_job_is_done_once(count: int) -> None:
    done: list[int] = []
    spread = Spread([lambda index=index: done.append(index) for index in range(count)])
    spread.finished()
    assert sorted(done) == list(range(count))
    spread.wait()


def test_a_single_job_runs_at_once_in_the_calling_thread() -> None:
    threads: list[int] = []
    Spread([lambda: threads.append(threading.get_ident())])
    assert threads == [threading.get_ident()]


def test_the_caller_helps_where_all_threads_are_busy() -> None:
    go, blocked = threading.Event(), threading.Semaphore(0)

    def block() -> None:
        blocked.release()
        go.wait(30)

    workers = worker_threads._workers()
    busy = Spread([block] * workers.count)
    for _ in range(workers.count):
        assert blocked.acquire(timeout=30)
    threads: list[int] = []
    Spread([lambda: threads.append(threading.get_ident()) for _ in range(3)]).finished()
    assert threads == [threading.get_ident()] * 3
    go.set()
    busy.finished()


def test_the_first_error_in_order_is_raised_after_all_have_ended() -> None:
    ended: list[int] = []

    def job(index: int) -> None:
        try:
            if index == 3:
                raise ImageError("b")
            if index == 5:
                raise ValueError("c")
        finally:
            ended.append(index)

    def jobs(*indices: int) -> list[Any]:
        return [lambda index=index: job(index) for index in indices]

    with pytest.raises(ImageError, match="b"):
        Spread(jobs(0, 1, 5, 3)[::-1]).finished()
    assert sorted(ended) == [0, 1, 3, 5]
    with pytest.raises(PluginError, match="ValueError: c"):
        Spread(jobs(5)).finished()


@pytest.mark.parametrize("place", ["taken", "running", "waiting"])
def test_ctrl_c_in_the_calling_thread_ends_after_the_jobs_of_others(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Wherever it comes: a job that the thread has taken and not run is not waited for."""
    go, ended, raised = threading.Event(), [], []

    class Jobs(deque[Any]):
        def popleft(self) -> Any:
            job = super().popleft()
            if place == "taken" and threading.current_thread() is calling:
                raise KeyboardInterrupt
            return job

    def work() -> None:
        if threading.current_thread() is not calling:
            go.wait(HANG)
            ended.append(threading.get_ident())
        elif place == "running":
            raise KeyboardInterrupt

    def call() -> None:
        begun.wait(HANG)
        with pytest.raises(KeyboardInterrupt):
            spread[0].finished()
        raised.append(len(ended))

    def interrupted(self: Spread) -> None:
        monkeypatch.setattr(Spread, "wait", wait)
        raise KeyboardInterrupt

    wait, spread, begun = Spread.wait, [], threading.Event()
    monkeypatch.setattr(worker_threads, "deque", Jobs)
    calling = threading.Thread(target=call, daemon=True)
    calling.start()
    spread.append(Spread([work] * 20, threads=2))
    wait_until(lambda: spread[0]._busy > 0, "a worker takes a job")
    if place == "waiting":
        monkeypatch.setattr(Spread, "wait", interrupted)
    busy = spread[0]._busy
    begun.set()
    go.set() if place == "waiting" else threading.Timer(0.05, go.set).start()
    calling.join(HANG)
    assert raised
    assert raised[0] >= busy


def test_jobs_that_have_not_begun_are_dropped() -> None:
    go, begun, done = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go.wait(30)
        done.append("first")

    spread = Spread([first, *[lambda: done.append("other")] * 50], threads=1)
    assert begun.wait(30)
    threading.Timer(0.01, go.set).start()
    spread.wait()
    assert done == ["first"]


def test_callers_share_the_threads_that_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_threads, "_cores", lambda: 16)
    assert [copying_threads(callers) for callers in (0, 1, 2, 3, 8)] == [8, 8, 4, 2, 1]
    monkeypatch.setattr(worker_threads, "_cores", lambda: 2)
    assert copying_threads(1) == 2
    assert helping_threads() == 1
