"""Small engines on a real GPU; skipped with the reason where there is no GPU, no TensorRT or no cuda-python.

Where only TensorRT's lean runtime is installed, which cannot build, ``ADAPTRT_GPU_ENGINES`` names a folder of engines
that ``python tests/support/small_engines.py FOLDER`` wrote with the full TensorRT.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from adaptrt.testing.plugin import why_no_gpu

if TYPE_CHECKING:
    from gpu_commands import Commands

HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    # as adaptrt's own plugin does, which pytest finds only where adaptrt is installed
    config.addinivalue_line("markers", "gpu: needs an NVIDIA GPU")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = why_no_gpu()
    for item in items:
        if HERE in Path(item.fspath).parents:
            item.add_marker(pytest.mark.gpu)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The small engine of a name, built once; see small_engines.py."""
    from small_engines import ENGINES, build_small_engine

    from adaptrt.backends.tensorrt.generations import import_tensorrt

    ready = os.environ.get("ADAPTRT_GPU_ENGINES")
    folder = Path(ready) if ready else tmp_path_factory.mktemp("engines")

    lean = not why_no_gpu() and import_tensorrt().flavor != "full"

    def find(name: str) -> Path:
        if lean and name == "affine":
            name = "portable"  # the same network
        if lean and not ENGINES[name].version_compatible:
            pytest.skip(f"the lean runtime loads version-compatible engines, {name} is none")
        path = folder / f"{name}.engine"
        if path.is_file():
            return path
        if ready or lean:
            pytest.skip(f"only the full TensorRT builds {path.name}; ADAPTRT_GPU_ENGINES may name a folder with it")
        return build_small_engine(path, ENGINES[name])

    return find


@pytest.fixture
def open_engine(engines: Callable[[str], Path]) -> Iterator[Callable[..., Any]]:
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    opened = []

    def make(name: str = "affine", **options: Any) -> Any:
        opened.append(TensorRTRunner(engines(name), allow_host_code=True, **options))
        return opened[-1]

    yield make
    for runner in opened:
        runner.close()


@pytest.fixture(scope="session")
def cudart() -> Any:
    from adaptrt.backends.tensorrt.device import import_cudart

    return import_cudart()


@pytest.fixture(scope="session")
def made() -> Commands:
    """The folder of models, and the commands with its cache."""
    folder = os.environ.get("ADAPTRT_GPU_ONNX")
    if not folder:
        pytest.skip("ADAPTRT_GPU_ONNX names no folder that tests/support/gpu_models.py wrote")
    from gpu_commands import Commands

    return Commands(Path(folder).resolve())


@pytest.fixture(scope="session")
def full(made: Commands) -> Commands:
    """The same, with the TensorRT that builds."""
    from adaptrt.backends.tensorrt.generations import import_tensorrt

    if import_tensorrt().flavor != "full":
        pytest.skip("only the full TensorRT builds engines")
    return made


class OnDevice:
    """Device memory with the CUDA array interface; ``fill`` writes it on ``stream``, which may have much to do before."""

    def __init__(self, cudart: Any, values: np.ndarray[Any, Any], stream: int | None = None) -> None:
        self.cudart, self.shape, self.dtype, self.stream = cudart, values.shape, values.dtype, stream
        self.nbytes = values.nbytes
        error, pointer = cudart.cudaMalloc(self.nbytes)
        assert not int(error)
        self.pointer = int(pointer)
        error, staging = cudart.cudaHostAlloc(self.nbytes, 0)
        assert not int(error)
        self.staging = int(staging)
        self.strides: tuple[int, ...] | None = None
        self.fill(values)
        if stream is None:
            cudart.cudaStreamSynchronize(0)  # not the device: that would end another thread's capture

    def fill(self, values: np.ndarray[Any, Any]) -> None:
        import ctypes

        ctypes.memmove(self.staging, np.ascontiguousarray(values).ctypes.data, self.nbytes)
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        (error,) = self.cudart.cudaMemcpyAsync(self.pointer, self.staging, self.nbytes, kind, self.stream or 0)
        assert not int(error)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": self.strides,
            "stream": self.stream,
            "version": 3,
        }

    def __del__(self) -> None:
        if hasattr(self, "pointer"):
            self.cudart.cudaFree(self.pointer)
        if hasattr(self, "staging"):
            self.cudart.cudaFreeHost(self.staging)


@pytest.fixture
def on_device(cudart: Any) -> Callable[..., OnDevice]:
    def make(values: np.ndarray[Any, Any], stream: int | None = None) -> OnDevice:
        return OnDevice(cudart, values, stream)

    return make


@pytest.fixture
def busy_stream(cudart: Any) -> Iterator[Callable[[], int]]:
    """A stream with some ten milliseconds of copies ahead of whatever comes next."""
    size = 1 << 29
    _, first = cudart.cudaMalloc(size)
    _, second = cudart.cudaMalloc(size)
    streams: list[Any] = []

    def make() -> int:
        _, stream = cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)
        streams.append(stream)
        delay(int(stream))
        return int(stream)

    def delay(stream: int) -> None:
        for _ in range(20):
            cudart.cudaMemcpyAsync(first, second, size, cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice, stream)

    make.delay = delay  # type: ignore[attr-defined]
    yield make
    cudart.cudaDeviceSynchronize()
    for stream in streams:
        cudart.cudaStreamDestroy(stream)
    cudart.cudaFree(first)
    cudart.cudaFree(second)


@pytest.fixture
def images() -> Callable[..., np.ndarray[Any, Any]]:
    def make(batch: int = 2, size: int = 64, seed: int = 0) -> np.ndarray[Any, Any]:
        return np.random.default_rng(seed).random((batch, 3, size, size), np.float32)

    return make
