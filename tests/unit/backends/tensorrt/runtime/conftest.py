"""An engine on the pretend GPU: every TensorRT generation by its recorded surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest
from tensorrt_surfaces import VERSIONS


@dataclass
class Bench:
    """The pretend GPU, the engine's file, and a way to open it. ``launched``: names of kernels, if they can be."""

    gpu: fake_gpu.Gpu
    plan: fake_gpu.Plan
    path: Path
    open: Callable[..., Any]
    launched: list[str] = field(default_factory=list)


@pytest.fixture(params=VERSIONS)
def tensorrt_version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tensorrt_version: str) -> Callable[..., Bench]:
    from adaptrt.backends.tensorrt.runtime import arrays

    monkeypatch.setattr(arrays, "_cuda_core", lambda: None)  # it would look for a real driver
    runners: list[Any] = []
    gpus: list[fake_gpu.Gpu] = []

    def make(plan: fake_gpu.Plan | None = None, **about_gpu: Any) -> Bench:
        gpu, plan = fake_gpu.Gpu(**about_gpu), plan or fake_gpu.affine_plan()
        gpus.append(gpu)
        fake_gpu.install(monkeypatch, gpu, plan, tensorrt_version)
        path = tmp_path / "best.engine"
        path.write_bytes(plan.stored)

        def open_engine(**options: Any) -> Any:
            from adaptrt.backends.tensorrt.runtime import TensorRTRunner

            runners.append(TensorRTRunner(path, **options))
            return runners[-1]

        return Bench(gpu, plan, path, open_engine)

    yield make
    for runner in runners:
        runner.close()
    assert not [error for gpu in gpus for error in gpu.misused]


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench()


@pytest.fixture
def make_image_bench(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Bench]:
    """An engine that takes images of 32 x 48; by default, it returns its input."""
    same = fake_gpu.Tensor("same", "float32", shape=lambda x: x, compute=lambda x: x)

    def make(output: fake_gpu.Tensor = same, **about_gpu: Any) -> Bench:
        shapes = [tuple((batch, 3, 32, 48) for batch in (1, 2, 8))]
        bench = make_bench(fake_gpu.Plan([fake_gpu.Tensor("images", "float32", shapes)], [output]), **about_gpu)
        bench.launched = host_kernels.install(monkeypatch, bench.gpu)
        return bench

    return make


@pytest.fixture
def opened(make_image_bench: Callable[..., Bench]) -> tuple[Any, Any]:
    """The pretend GPU, and an engine that returns its input."""
    bench = make_image_bench()
    return bench.gpu, bench.open()


class Device:
    """An array of another library on the device, with the CUDA array interface; its owner's work waits on ``stream``."""

    def __init__(self, gpu: fake_gpu.Gpu, values: np.ndarray[Any, Any], stream: int | None = None) -> None:
        self.gpu, self.values, self.stream = gpu, values, stream
        self.pointer = gpu.cudaMalloc(values.nbytes)[1]
        self.strides: tuple[int, ...] | None = None
        if stream is None:
            self._write(values)
        else:
            self.fill(values)

    def fill(self, values: np.ndarray[Any, Any]) -> None:
        """In the order of the owner's stream."""
        self.gpu.submit(self.stream or 1, lambda: self._write(values))

    def _write(self, values: np.ndarray[Any, Any]) -> None:
        self.gpu.view(self.pointer, values.nbytes)[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)

    def free(self) -> None:
        self.gpu._release(self.pointer)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.values.shape,
            "typestr": self.values.dtype.str,
            "data": (self.pointer, False),
            "strides": self.strides,
            "stream": self.stream,
            "version": 3,
        }


@pytest.fixture
def on_device() -> type[Device]:
    return Device


@pytest.fixture
def images() -> Callable[..., np.ndarray[Any, Any]]:
    def make(batch: int = 2, size: int = 8, seed: int = 0) -> np.ndarray[Any, Any]:
        return np.random.default_rng(seed).random((batch, 3, size, size), np.float32)

    return make
