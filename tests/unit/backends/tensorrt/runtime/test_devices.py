"""An engine on one of several GPUs: CUDA starts on that one alone, and the caller's current device stays."""

from __future__ import annotations

import gc
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import fake_gpu
import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime import arrays
from adaptrt.backends.tensorrt.runtime import runner as runners
from adaptrt.backends.tensorrt.runtime.contexts import BoundContext
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.errors import EngineError
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.processing import Processing

SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
VALUES = np.random.default_rng(0).random((2, 3, 32, 48), np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (90, 50, 3), np.uint8)
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())


@pytest.fixture(params=["10.16.1", "8.6.0"])
def tensorrt_version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def two(make_image_bench: Any) -> Any:
    """Two GPUs, and an engine that returns its input."""
    return make_image_bench(devices=2)


def in_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_nothing_starts_on_the_device_that_is_current(two: Any, on_device: Any, images: Any) -> None:
    """Neither when an engine is loaded, called and closed, nor when what it made is freed, in this thread or another."""
    runner = two.open(device="cuda:1")
    assert two.gpu.started == {1}
    values, pixels = VALUES, PIXELS
    pipeline = BatchPipeline(runner, Processing(SPEC))

    def calls() -> None:
        np.testing.assert_array_equal(runner.run({"images": values})["same"], values)
        for ownership in ("owned", "borrowed"):
            found = runner({"images": values}, outputs=ownership)["same"]
            np.testing.assert_array_equal(found.numpy(), values)
        pipeline.result([pixels], SPEC)
        list(pipeline.results([[pixels, pixels]] * 3, SPEC))
        runner.give_back(runner.handed_over(pixels))

    for _ in range(3):
        calls()
    in_thread(calls)
    runner.layer_times({"images": values}, 1)
    gc.collect()
    in_thread(runner.close)
    assert two.gpu.started == {1}


def test_what_was_not_closed_is_freed_on_its_device(two: Any) -> None:
    runner = two.open(device=1)
    engine, stream = runner._engine, runner._cuda.new_stream()
    context = BoundContext(engine, engine.new_context(0, int(stream), 0), 0)
    again = Engine(two.plan.stored, runner._cuda, engine.tensorrt, name="again")
    del context
    del again
    assert two.gpu.started == {1}


def test_the_callers_device_stays(two: Any) -> None:
    first, second = two.open(device=0), two.open(device=1)
    values = np.ones((1, 3, 32, 48), np.float32)
    for current in (0, 1, 0):
        two.gpu.cudaSetDevice(current)
        first.run({"images": values})
        second.run({"images": values})
        assert two.gpu.cudaGetDevice() == (0, current)


def test_a_device_that_is_current_is_selected_once_in_a_thread(two: Any) -> None:
    """As the runtime does at its first call: each selection costs as much as a call that does something."""
    runner = two.open(device=0)

    def calls() -> None:
        for expected in (2, 2, 2):
            runner.run({"images": VALUES})
            assert two.gpu.counts["cuCtxSetCurrent"] - before == expected

    before = two.gpu.counts["cuCtxSetCurrent"]
    with ThreadPoolExecutor(1) as pool:
        pool.submit(calls).result()
    assert two.gpu.started == {0}


def test_a_device_that_cannot_be_selected(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = two.open(device=1)
    with monkeypatch.context() as patch:
        failed = (fake_gpu.Code.cudaErrorInvalidValue,)
        patch.setattr(runner._cuda._driver, "cuCtxSetCurrent", lambda context: failed)
        with pytest.raises(EngineError, match="failed to select cuda:1: cudaErrorInvalidValue"):
            runner.run({"images": VALUES})


def test_an_interrupt_while_the_device_is_selected(two: Any) -> None:
    """At each line: the device that was current is current again."""
    runner = two.open(device=1)
    code = Cuda._switched.__wrapped__.__code__  # type: ignore[attr-defined]
    lines = {line for _, _, line in code.co_lines() if line is not None}

    for interrupted in lines:

        def trace(frame: Any, event: str, _: Any, at: int = interrupted) -> Any:
            if frame.f_code is code and event == "line" and frame.f_lineno == at:
                sys.settrace(None)
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            with suppress(KeyboardInterrupt):
                runner.run({"images": VALUES})
        finally:
            sys.settrace(None)
        # the last line restores it; the outer of two calls has nothing after that
        assert two.gpu.cudaGetDevice() == (0, 0) or interrupted == max(lines), interrupted
        two.gpu.cudaSetDevice(0)


@pytest.mark.parametrize("fails", ["while it is loaded", "in a context of its own"])
def test_what_an_error_keeps_is_freed_on_its_device(two: Any, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    """A traceback keeps what was local to a function."""
    runner = two.open(device=1)
    with monkeypatch.context() as patch:
        if fails == "while it is loaded":
            patch.setattr(Engine, "_select", lambda *_: False)
            with pytest.raises(EngineError, match="rejects profile 0"):
                two.open(device=1)
        else:
            runner.run({"images": VALUES})
            patch.setattr(fake_gpu.Context, "execute_async_v3", lambda *_: False)
            for _ in range(3):  # the second captures a graph
                with pytest.raises(EngineError, match="could not run"):
                    runner.run({"images": VALUES})
    gc.collect()
    assert two.gpu.started == {1}


def test_other_libraries_export_arrays_where_their_device_is_current(
    two: Any, monkeypatch: pytest.MonkeyPatch, on_device: Any
) -> None:
    """torch refuses others, and records events on the current device."""
    runner, seen = two.open(device=1), []

    def view(given: Any, stream: int) -> Any:
        seen.append(two.gpu.cudaGetDevice()[1])
        values = given.values
        return SimpleNamespace(
            is_device_accessible=True,
            device_id=1,
            shape=values.shape,
            strides=None,
            dtype=values.dtype,
            ptr=given.pointer,
        )

    core = SimpleNamespace(View=SimpleNamespace(from_any_interface=view))
    monkeypatch.setattr(arrays, "_cuda_core", lambda: core)
    values, image = (on_device(two.gpu, one) for one in (VALUES, PIXELS))
    runner({"images": values})
    runner.run({"images": values})
    BatchPipeline(runner, Processing(SPEC)).result([image], SPEC)
    runner.handed_over(image)
    assert len(seen) == 4
    assert set(seen) == {1}


def test_jpeg_files_are_decoded_on_the_device(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Files:
        def __init__(self, device: int) -> None:
            seen.append((device, two.gpu.cudaGetDevice()[1]))

        def decoded(self, images: Any, stream: int) -> Any:
            seen.append((1, two.gpu.cudaGetDevice()[1]))
            return images

    monkeypatch.setattr(runners, "JpegFiles", Files)
    BatchPipeline(two.open(device=1, gpu_jpeg=True), Processing(SPEC)).result([PIXELS], SPEC)
    assert seen == [(1, 1), (1, 1)]
