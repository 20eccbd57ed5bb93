"""Memory over many calls."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import adaptrt


def resident() -> float:
    """MiB."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_ten_thousand_calls_from_eight_threads(converted: Callable[[str], Path]) -> None:
    """A leak of 2 KiB per call would be 16 MiB."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40 + 8 * index, 60, 3), np.uint8) for index in range(4)]
    with adaptrt.load(converted("detector")) as model, ThreadPoolExecutor(8) as threads:
        expected = model(images)

        def call(number: int) -> bool:
            found = model(images[: 1 + number % 4])
            return all(
                np.array_equal(one.scores, other.scores) for one, other in zip(found[:1], expected, strict=False)
            )

        assert len(list(threads.map(call, range(2000)))) == 2000
        before = resident()
        list(threads.map(call, range(8000)))
        assert resident() - before < 16
