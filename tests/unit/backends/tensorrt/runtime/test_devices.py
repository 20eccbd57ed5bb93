"""An engine on one of several GPUs: CUDA starts on that one alone, and the caller's current device stays."""

from __future__ import annotations

import gc
import threading
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime.contexts import BoundContext
from adaptrt.backends.tensorrt.runtime.engine import Engine
from adaptrt.errors import EngineError
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.processing import Processing

SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())


@pytest.fixture(params=["10.16.1", "8.6.0"])
def tensorrt_version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def two(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Two GPUs, and an engine that returns its input."""
    shapes = [tuple((batch, 3, 32, 48) for batch in (1, 2, 8))]
    same = fake_gpu.Tensor("same", "float32", shape=lambda x: x, compute=lambda x: x)
    bench = make_bench(fake_gpu.Plan([fake_gpu.Tensor("images", "float32", shapes)], [same]), devices=2)
    host_kernels.install(monkeypatch, bench.gpu)
    return bench


def in_thread(work: Any) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_nothing_starts_on_the_device_that_is_current(two: Any, on_device: Any, images: Any) -> None:
    """Neither when an engine is loaded, called and closed, nor when what it made is freed, in this thread or another."""
    runner = two.open(device="cuda:1")
    assert two.gpu.started == {1}
    values = np.random.default_rng(0).random((2, 3, 32, 48), np.float32)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 50, 3), np.uint8)
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


def test_a_device_that_cannot_be_selected(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = two.open(device=1)
    monkeypatch.setattr(
        runner._cuda._driver, "cuCtxPushCurrent", lambda context: (fake_gpu.Code.cudaErrorInvalidValue,)
    )
    with pytest.raises(EngineError, match="failed to select cuda:1: cudaErrorInvalidValue"):
        runner.run({"images": np.ones((1, 3, 32, 48), np.float32)})
    monkeypatch.undo()
