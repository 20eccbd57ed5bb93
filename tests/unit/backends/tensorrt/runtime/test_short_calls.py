"""CUDA calls that return at once keep the interpreter lock; the others, and those that fail, go through cuda-python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_gpu
import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime import placed_images
from adaptrt.backends.tensorrt.runtime.ways import FastestWay
from adaptrt.errors import EngineError
from adaptrt.pipeline.load import Model
from adaptrt.vision.transforms import transform_batch

SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())
PIXELS = np.random.default_rng(0).integers(0, 256, (50, 90, 3), np.uint8)
EXPECTED = transform_batch([PIXELS], SPEC)[0]["images"][0]
SHORT = ("cudaMemcpyAsync", "cudaGraphLaunch", "cudaEventRecord", "cudaStreamWaitEvent", "cudaPointerGetAttributes")


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # CUDA is the same for all


@pytest.fixture
def served(opened: tuple[Any, Any]) -> tuple[Any, Any, Model]:
    """The pretend GPU, the runner of an engine that returns its input, and its model."""
    return *opened, Model(opened[1], SPEC, Path("best.engine"))


def result(model: Model, image: Any) -> Any:
    return model(image)[0].arrays["same"]  # type: ignore[union-attr]


def in_memory(kind: str, gpu: Any, runner: Any, on_device: Any) -> Any:
    if kind == "device":
        return on_device(gpu, PIXELS)
    if kind == "page-locked":
        array = runner.input_array(PIXELS.shape, np.uint8)
        array[...] = PIXELS
        return array
    return PIXELS


@pytest.mark.parametrize("kind", ["device", "page-locked", "pageable"])
def test_a_repeated_call_gives_up_the_lock_for_waiting_only(
    served: tuple[Any, Any, Model], on_device: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(placed_images, "_ways", lambda rows: FastestWay(["copy"]))
    gpu, runner, model = served
    image = in_memory(kind, gpu, runner, on_device)
    for _ in range(3):
        result(model, image)
    for name in SHORT:
        monkeypatch.delattr(runner._cuda.api, name)
    np.testing.assert_array_equal(result(model, image), EXPECTED)


def test_the_driver_copies_pageable_memory_without_the_lock(
    served: tuple[Any, Any, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed_images, "_ways", lambda rows: FastestWay(["send"]))
    _, runner, model = served
    copied: list[int] = []
    copy = runner._cuda.api.cudaMemcpyAsync
    monkeypatch.setattr(runner._cuda.api, "cudaMemcpyAsync", lambda *given: copied.append(given[2]) or copy(*given))
    np.testing.assert_array_equal(result(model, PIXELS), EXPECTED)
    assert PIXELS.nbytes in copied


def raised(*_: Any) -> Any:
    raise RuntimeError('Function "cuGetProcAddress_v2" not found')


@pytest.mark.parametrize("answer", ["no driver", "old driver", "no function", "fails"])
def test_without_the_driver_cuda_python_does_everything(
    make_bench: Callable[..., Any], on_device: Any, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """A thread without a current context gets an error from the driver, too."""
    bench = make_bench()
    driver = sys.modules["cuda.bindings.driver"]
    if answer == "no driver":
        monkeypatch.delattr(driver, "cuGetProcAddress")
    elif answer == "old driver":
        monkeypatch.setattr(driver, "cuGetProcAddress", raised)
    elif answer == "no function":
        monkeypatch.setattr(driver, "cuGetProcAddress", lambda *_: (fake_gpu.Code.cudaErrorInvalidValue, 0, 1))
    else:
        name = "cudaErrorInvalidValue"
        for function in ("cudaMemcpyAsync", "cudaEventRecord", "cudaStreamWaitEvent", "cudaGraphLaunch"):
            monkeypatch.setattr(bench.gpu, function, lambda *_: (fake_gpu.Code[name],))
        bench.gpu.driver_functions = bench.gpu._driver_functions()
    runner = bench.open()
    assert (runner._cuda._short is None) == (answer != "fails")
    x = np.random.default_rng(0).random((2, 3, 8, 8), np.float32)
    given = on_device(bench.gpu, x)
    for _ in range(3):
        np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
        np.testing.assert_array_equal(runner({"images": given})["output0"].numpy(), 2 * x + 1)


@pytest.mark.parametrize("way", ["copy", "send", "resize"])
def test_managed_memory_is_not_page_locked(
    served: tuple[Any, Any, Model], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """The driver may call it host memory; a copy of it may move its pages first, so it does not return at once."""
    monkeypatch.setattr(placed_images, "_ways", lambda rows: FastestWay([way]))
    gpu, runner, model = served
    _, pointer = gpu.cudaMallocManaged(PIXELS.nbytes, 1)
    image = gpu.view(pointer, PIXELS.nbytes).reshape(PIXELS.shape)
    image[...] = PIXELS
    for _ in range(3):
        np.testing.assert_array_equal(result(model, image), EXPECTED)
    assert not runner._cuda.is_pinned(pointer)
    assert runner._cuda.device_of(pointer) == 0
    gpu.cudaFree(pointer)


def test_cuda_python_describes_an_error(served: tuple[Any, Any, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    _, runner, model = served
    for _ in range(3):
        result(model, PIXELS)
    failed = fake_gpu.Code.cudaErrorInvalidValue
    monkeypatch.setattr(runner._cuda._short, "launch", lambda *_: failed)
    monkeypatch.setattr(runner._cuda.api, "cudaGraphLaunch", lambda *_: (failed,))
    with pytest.raises(EngineError, match="failed to launch a graph: cudaErrorInvalidValue"):
        result(model, PIXELS)
