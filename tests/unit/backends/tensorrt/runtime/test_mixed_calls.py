"""Many threads make calls of every kind on one engine, with a GPU that takes its time: results are those of single calls."""

from __future__ import annotations

import gc
import random
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.errors import ImageError
from adaptrt.pipeline import batches, call_thread
from adaptrt.pipeline.load import Model
from adaptrt.vision.images import write_image
from adaptrt.vision.transforms import transform_batch

SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())
THREADS, CALLS, IMAGES = 9, 40, 12


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # calls do not depend on the generation


class Pixels(np.ndarray):  # type: ignore[type-arg]
    """An image that a weak reference can be made of."""


@pytest.fixture
def served(opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """The simulated GPU and its runner. To wait takes up to 2 ms, and the thread of calls ends often."""
    gpu, runner = opened
    synchronize, waits = runner._cuda.api.cudaStreamSynchronize, random.Random(0)

    def wait(stream: int) -> Any:
        time.sleep(waits.uniform(0, 0.002))
        return synchronize(stream)

    monkeypatch.setattr(runner._cuda.api, "cudaStreamSynchronize", wait)
    monkeypatch.setattr(call_thread, "_IDLE", 0.002)
    monkeypatch.setattr(batches, "_SMALL", 5_000)
    monkeypatch.setattr(batches, "_LARGE", 50_000)
    return gpu, runner


@pytest.fixture
def images(served: tuple[Any, Any], on_device: Any, tmp_path: Path) -> tuple[list[Callable[[int], Any]], list[Any]]:
    """Ways to get an image, in each kind of memory, and what the network gets of it."""
    gpu, runner = served
    sizes = np.random.default_rng(0).integers(5, 260, (IMAGES, 2))
    pixels = [np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8) for seed, size in enumerate(sizes)]
    locked = [runner.input_array(image.shape, np.uint8) for image in pixels]
    for array, image in zip(locked, pixels, strict=True):
        array[...] = image
    device = [on_device(gpu, image) for image in pixels]
    files = [write_image(tmp_path / f"{index}.png", image) for index, image in enumerate(pixels)]
    kinds: list[Callable[[int], Any]] = [
        lambda index: pixels[index].copy().view(Pixels),
        lambda index: np.asfortranarray(pixels[index]),
        locked.__getitem__,
        device.__getitem__,
        files.__getitem__,
    ]
    return kinds, [transform_batch([image], SPEC)[0]["images"][0] for image in pixels]


@pytest.mark.parametrize("join", [1, 4])
def test_calls_of_every_kind_have_their_own_values(served: tuple[Any, Any], images: Any, join: int) -> None:
    """After errors, too. Afterwards no context is lent, no call counts as in progress, and no image is kept."""
    _, runner = served
    kinds, expected = images
    model = Model(runner, SPEC, Path("best.engine"), join_calls=join)
    given: list[weakref.ref[Any]] = []

    def taken(chosen: random.Random, index: int) -> Any:
        image = chosen.choice(kinds)(index)
        if isinstance(image, Pixels):
            given.append(weakref.ref(image))
        return image

    def call(chosen: random.Random) -> bool:
        kind, count = chosen.random(), chosen.choice([1, 1, 1, 2, 5, 11])
        indices = [chosen.randrange(IMAGES) for _ in range(count)]
        if kind < 0.15:
            with pytest.raises(ImageError, match="uint8"):
                model(np.zeros((9, 9, 3), np.float32))
        loan = runner({"images": expected[0][None]}, outputs="borrowed") if kind > 0.85 else None
        if 0.5 < kind < 0.6:
            results = model._pipeline.results(([taken(chosen, index)] for index in indices), SPEC)
            found = [result.predictions[0] for result in results]
        else:
            found = model([taken(chosen, index) for index in indices])  # type: ignore[assignment]
        del loan
        return all(
            np.array_equal(one.arrays["same"], expected[index])  # type: ignore[union-attr]
            for one, index in zip(found, indices, strict=True)
        )

    def calls(seed: int) -> bool:
        chosen = random.Random(seed)
        return all(call(chosen) for _ in range(CALLS))

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(calls, range(THREADS)))
    assert len(runner._pool._free) == len(runner._pool.lanes) == runner._pool._made
    preparer, thread = model._pipeline._preparer, model._pipeline._thread
    assert preparer is not None
    assert thread is not None
    assert not preparer.calling._calls
    running = thread._thread
    if running is not None:
        running.join()
    gc.collect()
    assert len(given) > 100
    assert not [one for one in given if one() is not None]
