"""Inputs in pageable memory, on the way to the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt.backends.tensorrt.runtime import host_inputs
from adaptrt.errors import EngineError


@pytest.mark.parametrize("order", ["dense", "transposed", "every other"])
def test_several_threads_copy_a_large_array(
    bench: Any, images: Any, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """And the bus carries what is copied while they go on with the rest."""
    monkeypatch.setattr(host_inputs, "_SEVERAL", 1)
    monkeypatch.setattr(host_inputs, "_PART", 100)
    monkeypatch.setattr(host_inputs, "_GROUP", 1000)
    runner = bench.open()
    for batch, size in ((1, 4), (8, 16), (3, 8)):
        x = images(2 * batch, size)
        x = {"dense": x[:batch], "transposed": x[:batch].transpose(0, 1, 3, 2), "every other": x[::2]}[order]
        before = bench.gpu.counts.get("copy cudaMemcpyHostToDevice", 0)
        np.testing.assert_array_equal(runner.run({"images": x})["output0"], 2 * x + 1)
        copies = bench.gpu.counts["copy cudaMemcpyHostToDevice"] - before
        assert copies > 1 or x.nbytes <= 1000


def test_nothing_is_running_after_an_error(bench: Any, images: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other calls get the memory that the GPU would write an output to."""
    runner, x = bench.open(), images(2, 8)
    runner.run({"images": x})
    allocate, left = runner._pinned.allocate, [2]  # an input and an output

    def fails(size: int) -> Any:
        if not left[0]:
            raise EngineError("out of memory")
        left[0] -= 1
        return allocate(size)

    monkeypatch.setattr(runner._pinned, "allocate", fails)
    with pytest.raises(EngineError, match="out of memory"):
        runner.run({"images": x})
    assert not any(bench.gpu.streams.values())
