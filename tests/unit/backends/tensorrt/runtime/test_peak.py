"""What a GPU does at most: kernels and copies that are timed, on a pretend GPU whose clock advances with them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest
from tensorrt_surfaces import VERSIONS

from adaptrt.backends.tensorrt.runtime import compiled, peak
from adaptrt.backends.tensorrt.runtime.cuda import Cuda
from adaptrt.errors import DependencyError, EngineError

BLOCKS = 2 * 10  # two for each multiprocessor of the pretend GPU
ROUND, COPY = 20e-6, 100e-6  # seconds


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cuda]:
    """Each round of a kernel is 1000 operations in every block."""
    gpu, clock = fake_gpu.Gpu(), SimpleNamespace(now=0.0)
    fake_gpu.install(monkeypatch, gpu, fake_gpu.affine_plan(), VERSIONS[-1])

    def launch(name: str, gx: int, gy: int, gz: int, bx: int, by: int, bz: int, shared: int, stream: int, arguments: Any, extra: int) -> Any:  # fmt: skip
        (out, rounds), _ = arguments
        assert (gx, gy, gz, bx, by, bz) == (BLOCKS, 1, 1, 128, 1, 1)

        def run() -> None:
            clock.now += rounds * ROUND
            gpu.view(out, 8).view(np.int64)[0] = rounds * 1000

        gpu.submit(int(stream), run)
        return (0,)

    copy = Cuda.copy

    def timed_copy(self: Cuda, target: int, source: int, size: int, kind: Any, stream: int, **options: Any) -> None:
        clock.now += COPY if kind == self.on_device else 0
        copy(self, target, source, size, kind, stream, **options)

    host_kernels.answer_launches(monkeypatch, launch)
    monkeypatch.setattr(peak, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(peak, "_COPIED", 1 << 16)
    monkeypatch.setattr(Cuda, "copy", timed_copy)
    yield Cuda(0)
    assert not gpu.used()
    assert set(gpu.streams) == {1, 2}


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
def test_operations_and_bytes_per_second(cuda: Cuda, precision: str) -> None:
    found = peak.measure_peak(cuda, "9.0", precision)
    assert found.operations == pytest.approx(BLOCKS * 1000 / ROUND)
    assert found.bytes == pytest.approx(2 * (1 << 16) / COPY)  # read, and written


@pytest.mark.parametrize(
    ("capability", "precision"), [("7.5", "bf16"), ("7.5", "tf32"), ("10.0", "fp16"), ("11.0", "int8"), ("9.0", "fp8")]
)
def test_what_is_not_measured_is_an_error(cuda: Cuda, capability: str, precision: str) -> None:
    with pytest.raises(EngineError, match=f"capability {capability} is not measured in {precision}"):
        peak.measure_peak(cuda, capability, precision)
    peak.measure_peak(cuda, capability, "fp32")


@pytest.mark.full
@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.7", "8.9", "9.0", "10.0", "12.0"])
def test_nvrtc_compiles_a_kernel_for_each_precision(capability: str) -> None:
    pytest.importorskip("cuda.bindings.nvrtc", reason="needs cuda-python")
    file = peak.kernel_file(capability)
    try:
        binary = compiled.compile_kernels(file, file.architecture(capability))
    except DependencyError as error:
        pytest.skip(error.message)
    assert all(f".text.{name}\0".encode() in binary for name in file.kernels)
