"""Owners of memory that end in any order."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import fake_gpu
import pytest

from adaptrt.backends.tensorrt.runtime.memory import Completion, DevicePool, Events, OwnedBlock, PinnedPool


class Cycle:
    """Objects that only the garbage collector frees, in the order in which they were made."""

    def __init__(self, *parts: Any) -> None:
        self.parts, self.own = parts, self


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> fake_gpu.Gpu:
    found = fake_gpu.Gpu()
    fake_gpu.install(monkeypatch, found, fake_gpu.affine_plan(), "10.16.1")
    return found


@pytest.fixture
def problems(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Errors in finalizers, which Python only prints."""
    found: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", found.append)
    yield found
    assert [str(one.exc_value) for one in found] == []


def blocks_in_a_cycle(gpu: fake_gpu.Gpu) -> None:
    from adaptrt.backends.tensorrt.runtime.cuda import Cuda

    cuda = Cuda(0)
    pool, pinned = DevicePool(cuda), PinnedPool(cuda)
    plain, completed, read, left = (pool.allocate(16, pool.stream.handle, "a test") for _ in range(4))
    completed.completion = Completion(Events(cuda), pool.stream.handle)
    read.completion = Completion(Events(cuda), 1)
    left.readers = {1234}
    assert gpu.used("device") == 64
    Cycle(plain, completed, read, left, pinned.allocate(99), pinned.allocate(99), pool, pinned)


def test_a_cycle_of_blocks_is_freed(gpu: fake_gpu.Gpu, problems: list[Any]) -> None:
    """The stream of the pool was destroyed before the blocks that it frees."""
    gc.collect()
    blocks_in_a_cycle(gpu)
    gc.collect()
    gpu.cudaDeviceSynchronize()
    assert gpu.blocks == {}
    assert not gpu.misused


def test_blocks_after_cuda_was_unloaded(
    gpu: fake_gpu.Gpu, problems: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.collect()
    blocks_in_a_cycle(gpu)
    unloaded = (fake_gpu.Code.cudaErrorCudartUnloading, 0)
    for name in ("cudaGetDevice", "cudaStreamWaitEvent", "cudaFreeAsync", "cudaDeviceSynchronize", "cudaFreeHost"):
        monkeypatch.setattr(gpu, name, lambda *_: unloaded)
    gc.collect()


def test_a_block_that_was_interrupted(problems: list[Any]) -> None:
    """Ctrl-C in its first line."""
    OwnedBlock.__new__(OwnedBlock)
    gc.collect()
