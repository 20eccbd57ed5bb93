"""One thread runs the calls of others, several at once and each alone."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from forked import forks, succeeds_in_fork
from patience import HANG, wait_until

from adaptrt.pipeline import call_thread
from adaptrt.pipeline.call_thread import CallThread
from adaptrt.pipeline.runner_batches import Written

CORE, PLUGIN = SimpleNamespace(own_hooks=False), SimpleNamespace(own_hooks=True)


class Batches:
    """Runs of one value, which is its own result; at most ``contexts`` at once."""

    def __init__(self, contexts: int = 2) -> None:
        self._contexts = contexts
        self.running = self.most = self.wrote = 0
        self.ran_in: set[int] = set()
        self.decoded_in: set[int] = set()

    def write(self, images: Any, known: Any) -> Any:
        self.wrote += 1
        if images == ["unreadable"]:
            raise ValueError("unreadable")
        return None if images == ["for the CPU"] else written(images[0])

    def start(self, written: Any, known: Any, *, wait: bool = True) -> Any:
        self.ran_in.add(threading.get_ident())
        value = written.batch
        if value == "refused":
            raise ValueError("refused")
        if self.running >= self._contexts:
            assert not wait, "it would wait for ever: all runs are its own"
            return None
        self.running += 1
        self.most = max(self.most, self.running)
        return value

    def ended(self, started: Any, known: Any) -> Callable[[], Any]:
        time.sleep(0.001)
        self.running -= 1
        if started == "failed":
            raise ValueError("failed")

        def decode() -> Any:
            self.decoded_in.add(threading.get_ident())
            if started == "undecodable":
                raise ValueError("undecodable")
            return started

        return decode


def written(value: Any) -> Written:
    return Written(value, [], None, 0.0)  # type: ignore[arg-type]


def results(thread: CallThread, values: list[Any], known: Any = CORE) -> list[Any]:
    """Of eight threads; errors are their text."""

    def result(value: Any) -> Any:
        try:
            return thread.result([value], known)
        except ValueError as error:
            return f"error: {error}"

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(result, values))


def test_every_call_has_its_own_result_and_as_many_run_as_there_are_contexts() -> None:
    batches = Batches(contexts=3)
    assert results(CallThread(batches), list(range(200))) == list(range(200))  # type: ignore[arg-type]
    assert batches.most == 3
    assert batches.running == 0
    assert len(batches.ran_in) == 1
    assert batches.decoded_in == batches.ran_in
    assert threading.get_ident() not in batches.ran_in


def test_an_error_belongs_to_its_call() -> None:
    values = [*range(20), "unreadable", "refused", "failed", "undecodable", *range(20)]
    expected = [*range(20), *(f"error: {value}" for value in values[20:24]), *range(20)]
    batches = Batches()
    assert results(CallThread(batches), values) == expected  # type: ignore[arg-type]
    assert batches.running == 0


def test_an_image_that_the_cpu_has_to_preprocess_is_given_back() -> None:
    values = [*range(20), "for the CPU", *range(20)]
    assert results(CallThread(Batches()), values) == [*range(20), None, *range(20)]  # type: ignore[arg-type]


def test_what_the_thread_of_a_call_has_written_is_not_written_again() -> None:
    batches = Batches()
    assert CallThread(batches).result(written(7), CORE) == 7  # type: ignore[arg-type]
    assert not batches.wrote


def test_plugins_decode_in_the_thread_of_the_call() -> None:
    batches = Batches()
    assert results(CallThread(batches), list(range(40)), PLUGIN) == list(range(40))  # type: ignore[arg-type]
    assert not batches.decoded_in & batches.ran_in


def test_the_thread_ends_without_calls_and_the_next_call_begins_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_thread, "_IDLE", 0.01)
    thread = CallThread(Batches())  # type: ignore[arg-type]
    for value in range(3):
        assert thread.result([value], CORE) == value  # type: ignore[arg-type]
        running = thread._thread
        if running is not None:
            running.join(HANG)
        assert thread._thread is None


def test_calls_at_the_moment_when_the_thread_ends_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_thread, "_IDLE", 0.0)
    batches = Batches(contexts=8)
    assert results(CallThread(batches), list(range(300))) == list(range(300))  # type: ignore[arg-type]


def test_a_thread_that_cannot_start_fails_only_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = CallThread(Batches())  # type: ignore[arg-type]
    with monkeypatch.context() as patch:
        patch.setattr(
            threading.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("can't start new thread"))
        )
        with pytest.raises(RuntimeError, match="can't start"):
            thread.result([1], CORE)  # type: ignore[arg-type]
    assert thread.result([2], CORE) == 2  # type: ignore[arg-type]


def test_a_thread_that_ctrl_c_interrupts_at_its_start_takes_no_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads would take calls from one queue, on which each relies."""
    thread, begun = CallThread(Batches()), list[threading.Thread]()  # type: ignore[arg-type]
    start = threading.Thread.start

    def interrupted(new: threading.Thread) -> None:
        start(new)
        begun.append(new)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        patch.setattr(call_thread, "_IDLE", 2 * HANG)
        with pytest.raises(KeyboardInterrupt):
            thread.result([1], CORE)  # type: ignore[arg-type]
        begun[0].join(HANG)
        assert not begun[0].is_alive()
    assert thread.result([2], CORE) == 2  # type: ignore[arg-type]


@forks
def test_a_forked_process_begins_another_thread() -> None:
    """Whatever the threads of its parent were doing."""

    class Blocked(Batches):
        def write(self, images: Any, known: Any) -> Any:
            if images == ["blocks"]:
                entered.set()
                assert may_end.wait(HANG)
            return super().write(images, known)

    entered, may_end = threading.Event(), threading.Event()
    thread = CallThread(Blocked())  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(thread.result, [value], CORE) for value in ("blocks", "waits")]  # type: ignore[arg-type]
        assert entered.wait(HANG)
        wait_until(lambda: not thread._calls.empty(), "the second call")
        assert succeeds_in_fork(lambda: thread.result([3], CORE) == 3, [thread._lock])  # type: ignore[arg-type, comparison-overlap]
        may_end.set()
        assert [call.result(HANG) for call in calls] == ["blocks", "waits"]


def test_a_failed_call_keeps_no_image() -> None:
    class Image:
        """Something that a weak reference can be made of."""

    def failed() -> weakref.ref[Image]:
        image = Image()
        with pytest.raises(ValueError, match="unreadable"):
            CallThread(Unreadable()).result([image], CORE)  # type: ignore[arg-type]
        return weakref.ref(image)

    class Unreadable(Batches):
        def write(self, images: Any, known: Any) -> Any:
            raise ValueError("unreadable")

    gc.collect()
    gc.disable()
    try:
        gone = failed()
        for _ in range(100):
            if gone() is None:
                break
            time.sleep(HANG / 1000)
        assert gone() is None
    finally:
        gc.enable()


def test_models_are_loaded_while_python_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By daemon threads: the runs of all others still end."""
    monkeypatch.setattr(call_thread, "_all", type(call_thread._all)())
    kept, ended = [CallThread(Batches()) for _ in range(300)], threading.Event()  # type: ignore[arg-type]

    def load() -> None:
        while not ended.is_set():
            kept.append(CallThread(Batches()))  # type: ignore[arg-type]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread = threading.Thread(target=load)
    thread.start()
    try:
        for _ in range(20):
            call_thread._stop_all()
    finally:
        ended.set()
        thread.join(HANG)
        sys.setswitchinterval(interval)
    assert all(one._stopped for one in kept[:300])
