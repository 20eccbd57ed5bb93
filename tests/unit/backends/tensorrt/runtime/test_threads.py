"""Threads that call one engine: each call has a lane to itself."""

from __future__ import annotations

import dis
import gc
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, count, repeat
from random import Random
from types import SimpleNamespace
from unittest.mock import Mock

import fake_gpu
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import HANG, wait_until

from adaptrt.backends.tensorrt.runtime import arrays
from adaptrt.backends.tensorrt.runtime import pool as pools
from adaptrt.backends.tensorrt.runtime.engine import NoSharingError
from adaptrt.errors import EngineError


class FakeLane:
    warnings = ()

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def make_pool(limit=2, make=FakeLane):
    return pools.LanePool(make, limit, "best.engine")


def test_lanes_are_made_when_needed_and_used_again():
    pool = make_pool()
    first = pool.acquire()
    second = pool.acquire()
    assert first is not second
    pool.release(first)
    pool.release(second)
    assert pool.acquire() is second, "the warm one"
    assert len(pool.lanes) == 2


def test_when_all_are_busy_callers_wait_then_hear_why(monkeypatch):
    monkeypatch.setattr(pools, "_PATIENCE", 0.05)
    pool = make_pool(1)
    lane = pool.acquire()
    with pytest.raises(EngineError, match="All 1 contexts of best.engine"):
        pool.acquire()
    monkeypatch.setattr(pools, "_PATIENCE", HANG)
    with pytest.raises(EngineError, match="All 1 contexts of best.engine"):
        pool.acquire()  # at once: none was released since
    pool.release(lane)
    assert pool.acquire() is lane
    threading.Timer(0.02, pool.release, [lane]).start()
    assert pool.acquire() is lane


def test_a_loan_ends_with_the_next_call_of_the_thread_or_explicitly():
    pool = make_pool()
    lane, loan = pool.acquire(), object()
    pool.lend(lane, loan)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(pool.acquire).result() is not lane
    assert pool.acquire() is lane
    later = object()
    pool.lend(lane, later)
    pool.end_loan(threading.current_thread(), loan)  # an old one: means nothing
    assert not pool._free
    pool.end_loan(threading.current_thread(), later)
    assert pool._free == [lane]


def test_a_loan_of_a_thread_that_has_ended_stays():
    """Another thread gets its number."""
    pool, lanes, numbers = make_pool(), [], []

    def borrow():
        numbers.append(threading.get_ident())
        lanes.append(pool.acquire())
        if len(lanes) == 1:
            pool.lend(lanes[0], object())

    while len(numbers) < 2 or numbers[-1] != numbers[0]:
        if len(lanes) > 1:
            pool.release(lanes.pop())
        thread = threading.Thread(target=borrow)
        thread.start()
        thread.join()
        del thread
    assert lanes[1] is not lanes[0]


def test_a_lane_that_fails_leaves_room():
    tries = iter([EngineError("out of memory"), None])

    def make():
        error = next(tries)
        if error:
            raise error
        return FakeLane()

    pool = make_pool(1, make)
    with pytest.raises(EngineError, match="out of memory"):
        pool.acquire()
    pool.release(pool.acquire())


def test_without_sharing_there_is_one_lane():
    made = []

    def make():
        if made:
            raise NoSharingError("one context")
        made.append(FakeLane())
        return made[0]

    pool = make_pool(4, make)
    lane = pool.acquire()
    threading.Timer(0.02, pool.release, [lane]).start()
    assert pool.acquire() is lane
    assert "calls are serialized" in pool.warnings[0]


def test_close_waits_for_calls():
    pool = make_pool()
    lane = pool.acquire()
    threading.Timer(0.02, pool.release, [lane]).start()
    pool.close()
    assert lane.closed
    with pytest.raises(EngineError, match="closed"):
        pool.acquire()


def waiting(pool, other):
    """A call of another thread, which waits for a lane."""
    before = len(pool._waiters)
    call = other.submit(pool.acquire)
    wait_until(lambda: len(pool._waiters) > before, "the other thread's call")
    with pool._lock:  # the call has given it up, and sleeps
        return call


def test_a_thread_that_has_waited_for_long_comes_before_the_one_that_makes_room(monkeypatch):
    """Else the latter takes the lane back each time, before the other thread has awoken."""
    monkeypatch.setattr(pools, "_IN_TURN", 0)
    pool = make_pool(1)
    lane = pool.acquire()
    with ThreadPoolExecutor(1) as other:
        call = waiting(pool, other)
        call.add_done_callback(lambda call: pool.release(call.result()))
        with pool._lock:  # the other thread is not awake yet
            pool.release(lane)
            assert pool.acquire_free() is None
        assert pool.acquire() is lane
        assert call.done()
        assert call.result(HANG) is lane


def test_a_lane_does_not_rest_until_a_thread_that_waits_has_woken_up(monkeypatch):
    monkeypatch.setattr(pools, "_IN_TURN", HANG)
    pool = make_pool(1)
    lane = pool.acquire()
    with ThreadPoolExecutor(1) as other:
        call = waiting(pool, other)
        for again in (pool.acquire, pool.acquire_free):
            with pool._lock:
                pool.release(lane)
                assert again() is lane
        pool.release(lane)
        assert call.result(HANG) is lane


def test_each_lane_wakes_another_thread(monkeypatch):
    """Also if the second is released while the first thread that waits is awake, but has not taken the first yet."""
    monkeypatch.setattr(pools, "_PATIENCE", 2 * HANG)
    pool = make_pool(2)
    lanes = [pool.acquire(), pool.acquire()]
    with ThreadPoolExecutor(2) as others:
        calls = [waiting(pool, others), waiting(pool, others)]
        with pool._lock:
            pool.release(lanes[0])
            wait_until(pool._waiters[0].gate.locked, "the first thread to awake")
            time.sleep(0.01)
            pool.release(lanes[1])
        assert {call.result(HANG) for call in calls} == set(lanes)


def test_more_threads_than_lanes_all_get_on():
    pool, calls, until = make_pool(2), [0] * 6, time.monotonic() + 0.5

    def loop(thread):
        while time.monotonic() < until:
            lane = pool.acquire()
            time.sleep(0.0005)
            pool.release(lane)
            calls[thread] += 1

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(loop, range(6)))
    assert min(calls) > 3, calls
    assert len(pool._free) == 2
    assert not pool._waiters


@given(st.integers(0, 2**31), st.sampled_from([0, 0.0005, HANG]))
@settings(max_examples=20, deadline=None)
def test_no_lane_is_lost(seed, in_turn):
    """Threads that take, keep, lend and return lanes: none waits although one is free, and none has another's lane."""
    pool, busy = make_pool(2), set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "_IN_TURN", in_turn)
        patch.setattr(pools, "_PATIENCE", HANG)

        def loop(thread):
            random = Random(seed + thread)
            for _ in range(40):
                lane = pool.acquire_free() if random.random() < 0.2 else pool.acquire()
                if lane is None:
                    continue
                assert lane not in busy
                busy.add(lane)
                if random.random() < 0.3:
                    time.sleep(0.0002)
                busy.discard(lane)
                if random.random() < 0.3:
                    loan = object()
                    pool.lend(lane, loan)
                    pool.end_loan(threading.current_thread(), loan)
                else:
                    pool.release(lane)

        with ThreadPoolExecutor(5) as threads:
            for one in [threads.submit(loop, thread) for thread in range(5)]:
                one.result(2 * HANG)
    assert len(pool._free) == len(pool.lanes) <= 2
    assert not pool._waiters


def test_a_call_that_ends_while_it_waits_gives_way(monkeypatch):
    """After Ctrl-C, when a lane was meant for it."""
    monkeypatch.setattr(pools, "_PATIENCE", 2 * HANG)
    pool = make_pool(1)
    lane = pool.acquire()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        calls = [waiting(pool, first)]
        gate = pool._waiters[0].gate
        calls.append(waiting(pool, second))
        with pool._lock:
            monkeypatch.setattr(pool, "require_open", Mock(side_effect=chain([KeyboardInterrupt], repeat(None))))
            pool.release(lane)
            assert not gate.locked()
        with pytest.raises(KeyboardInterrupt):
            calls[0].result(HANG)
        assert calls[1].result(HANG) is lane
    pool.release(lane)
    assert pool.acquire() is lane


class CtrlC:
    """Ctrl-C in a thread, the ``number``-th time that Python looks for signals in the code of pools: after a call, and where functions begin."""

    def __init__(self, number):
        self.left, self.latest = number, {}

    def __call__(self, frame, event, argument):
        if frame.f_code.co_filename != pools.__file__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, line = self.latest.get(frame, ("", 0))
            self.latest[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]], frame.f_lineno
            # on another line, it would be raised outside of the block of the call
            self.left -= before == "RESUME" or (before.startswith("CALL") and line == frame.f_lineno)
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self


def interrupted(number):
    """The error of a call that waits, and gets Ctrl-C then; another one that waits goes on."""
    pool = make_pool(1)
    lane = pool.acquire()

    def call(trace):
        sys.settrace(trace)
        try:
            pool.release(pool.acquire())
        finally:
            sys.settrace(None)

    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        call_1 = first.submit(call, CtrlC(number))
        wait_until(lambda: pool._waiters or call_1.done(), "the call to wait")
        call_2 = second.submit(call, None)
        wait_until(lambda: len(pool._waiters) == 2 or call_1.done(), "the other call to wait")
        pool.release(lane)
        error = call_1.exception(HANG)
        if lane not in pool._free and not call_2.done():
            pool.release(lane)  # it was lost with the call
        call_2.result(HANG)
    assert not pool._waiters
    return error


def test_ctrl_c_leaves_no_thread_waiting(monkeypatch):
    """At each point of a call that waits."""
    monkeypatch.setattr(pools, "_PATIENCE", 2 * HANG)
    errors = list(iter(map(interrupted, count(1)).__next__, None))
    assert len(errors) > 10
    assert all(isinstance(error, KeyboardInterrupt) for error in errors)


def test_every_close_waits_for_calls():
    """What the caller frees afterwards is used by them."""
    pool, ended = make_pool(), []
    lane = pool.acquire()
    with ThreadPoolExecutor(2) as closers:
        closing = [closers.submit(pool.close) for _ in range(2)]
        for close in closing:
            close.add_done_callback(lambda _: ended.append(lane.closed))
        wait_until(lambda: len(pool._ended._waiters) + len(ended) == 2, "both to wait")
        pool.release(lane)
        for close in closing:
            close.result(HANG)
    assert ended == [True, True]
    pool.close()


def test_close_waits_for_a_lane_that_is_being_made():
    going, may_end = threading.Event(), threading.Event()

    def make():
        if not pool.lanes:
            return FakeLane()
        going.set()
        assert may_end.wait(HANG)
        return FakeLane()

    pool = make_pool(2, make)
    first = pool.acquire()
    with ThreadPoolExecutor(1) as other:
        call = other.submit(pool.acquire)
        assert going.wait(HANG)
        pool.release(first)
        threading.Timer(0.02, may_end.set).start()
        call.add_done_callback(lambda call: pool.release(call.result()))
        pool.close()
        assert first.closed
        assert call.result(HANG).closed


@pytest.mark.parametrize("outputs", ["host", "owned", "borrowed"])
@pytest.mark.parametrize("sharing", [True, False])
def test_eight_threads_one_engine(make_bench, images, on_device, outputs, sharing, tensorrt_version):
    if not sharing and not tensorrt_version.startswith("8"):
        pytest.skip("later versions always share")
    bench = make_bench(fake_gpu.affine_plan(sharing=sharing))
    runner = bench.open(contexts=8)

    def calls(thread):
        for number in range(15):
            x = images(1 + number % 3, 8, seed=100 * thread + number)
            if outputs == "host":
                found = runner.run({"images": x})["output0"]
            else:
                found = runner({"images": on_device(bench.gpu, x)}, outputs=outputs)["output0"].numpy()
            np.testing.assert_array_equal(found, 2 * x + 1)

    with ThreadPoolExecutor(8) as threads:
        for future in [threads.submit(calls, thread) for thread in range(8)]:
            future.result()


def test_borrowed_outputs_of_one_thread_survive_calls_of_others(bench, images, on_device):
    runner = bench.open(outputs="borrowed", contexts=2)
    x = images()
    older = runner({"images": on_device(bench.gpu, images(seed=9))})
    mine = runner({"images": on_device(bench.gpu, x)})["output0"]
    del older
    gc.collect()
    with ThreadPoolExecutor(1) as other:
        for seed in range(4):
            other.submit(
                lambda s=seed: runner({"images": on_device(bench.gpu, images(seed=s))})["output0"].numpy()
            ).result()
    np.testing.assert_array_equal(mine.numpy(), 2 * x + 1)


def test_threads_do_not_see_cuda_core_half_imported(monkeypatch):
    """It hides from other threads' imports that it is incomplete, by copying the attributes of another module."""
    modules = {}

    def import_module(name):
        found = modules.get(name)
        if found is None:
            found = modules[name] = SimpleNamespace()
            time.sleep(0.05)
            found.Buffer = found.StridedMemoryView = name
        return found

    monkeypatch.setattr(arrays, "importlib", SimpleNamespace(import_module=import_module))
    arrays._cuda_core.cache_clear()
    try:
        with ThreadPoolExecutor(4) as threads:
            found = {core.Buffer for core in threads.map(lambda _: arrays._cuda_core(), range(4))}
    finally:
        arrays._cuda_core.cache_clear()
    assert found == {"cuda.core"}
