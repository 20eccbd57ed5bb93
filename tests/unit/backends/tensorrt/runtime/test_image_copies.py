"""Copies of images in page-locked memory, which the thread of a call makes before another thread runs it, or beside other calls."""

from __future__ import annotations

import gc
import threading
import weakref
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch
from adaptrt.errors import EngineError
from adaptrt.pipeline import batches
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.load import Model
from adaptrt.pipeline.processing import Processing
from adaptrt.vision.images import write_image
from adaptrt.vision.transforms import transform_batch

Took = list[tuple[str, Any]]
SIZE = (96, 144)
SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # images do not depend on the generation


@pytest.fixture
def image() -> Any:
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.fixture
def took(monkeypatch: pytest.MonkeyPatch) -> Took:
    """The images that batches take, each with the name of the thread."""
    found: Took = []
    take = ImageBatch.take

    def taken(batch: ImageBatch, index: int, image: Any) -> Any:
        found.append((threading.current_thread().name, image))
        return take(batch, index, image)

    monkeypatch.setattr(ImageBatch, "take", taken)
    return found


def values(image: Any) -> Any:
    return transform_batch([image], SPEC)[0]["images"][0]


@pytest.mark.parametrize(
    "memory", ["dense", "fortran order", "file", "page-locked", "small", "large", "no room", "not locked"]
)
def test_a_thread_copies_its_image_for_the_one_that_runs_it(
    opened: tuple[Any, Any], image: Any, took: Took, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    """To page-locked memory, beside the Python of other threads; unless it is there, small, or too large to be copied whole."""
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    if memory != "small":
        monkeypatch.setattr(batches, "_SMALL", 0)
    if memory == "large":
        monkeypatch.setattr(batches, "_LARGE", 1)
    _, runner = opened
    if memory == "no room":
        monkeypatch.setattr(runner._pinned, "_limit", 0)
    given: Any = image
    if memory == "fortran order":
        given = np.asfortranarray(image)
    if memory == "file":
        given = write_image(tmp_path / "image.png", image)
    if memory == "page-locked":
        given = runner.input_array(image.shape, np.uint8)
        given[...] = image
    copied = memory in ("dense", "fortran order", "file")
    model = Model(runner, SPEC, Path("best.engine"))
    model(image)  # checks the kernels
    took.clear()
    gc.collect()
    before = len(runner._pinned._inputs)
    if memory == "not locked":
        monkeypatch.setattr(runner._pinned, "allocate", Mock(side_effect=EngineError("pin 64 KiB of host memory")))
    for call in range(3):
        np.testing.assert_array_equal(model(given)[0].arrays["same"], values(image))  # type: ignore[union-attr]
        name, found = took.pop()
        assert (found is given) == (memory in ("page-locked", "small", "large", "no room", "not locked")), call
        assert runner._images.is_page_locked(found.__array_interface__["data"][0]) == (
            copied or memory == "page-locked"
        )
        assert (name == "adaptrt-calls") == (memory != "large")
        del found
    assert len(runner._images._idle) == copied, "one copy serves all calls"
    assert len(runner._pinned._inputs) == before + copied


@pytest.mark.parametrize("calls", [1, 2])
def test_threads_that_run_their_own_calls_copy_their_images_beside_others(
    opened: tuple[Any, Any], image: Any, took: Took, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """A call that is alone has the help of other threads instead."""
    monkeypatch.setattr(batches, "_TOGETHER", 1)
    monkeypatch.setattr(batches, "_SMALL", 0)
    _, runner = opened
    model = Model(runner, SPEC, Path("best.engine"))
    model(image)  # checks the kernels
    took.clear()
    with model._pipeline._preparer.calling if calls == 2 else nullcontext():  # type: ignore[union-attr]
        found = model._pipeline.result([image], SPEC)
    np.testing.assert_array_equal(found.predictions[0].arrays["same"], values(image))  # type: ignore[union-attr]
    _, sent = took[0]
    assert (sent is not image) == (calls == 2)
    assert runner._images.is_page_locked(sent.__array_interface__["data"][0]) == (calls == 2)
    assert len(runner._images._idle) == calls - 1


@pytest.mark.parametrize("join", [1, 4])
def test_the_copy_of_a_call_that_failed_is_not_used_again(
    opened: tuple[Any, Any], image: Any, monkeypatch: pytest.MonkeyPatch, join: int
) -> None:
    """After Ctrl-C its run may still read it."""
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    monkeypatch.setattr(batches, "_SMALL", 0)
    _, runner = opened
    model = Model(runner, SPEC, Path("best.engine"), join_calls=join)
    if join > 1:
        monkeypatch.setattr(
            model._joined, "_state", model._joined._state._replace(running=((),))
        )  # images are copied beside a batch
    model(image)  # checks the kernels
    model(image)
    assert len(runner._images._idle) == 1
    with monkeypatch.context() as patch:
        patch.setattr(runner, "start_images", Mock(side_effect=EngineError("no")))
        with pytest.raises(EngineError, match="no"):
            model(image)
    assert not runner._images._idle
    np.testing.assert_array_equal(model(image)[0].arrays["same"], values(image))  # type: ignore[union-attr]


def test_memory_of_copies_that_are_not_in_use_is_limited(opened: tuple[Any, Any], image: Any) -> None:
    """Else it would be missing for inputs and outputs after many calls at once."""
    _, runner = opened
    Model(runner, SPEC, Path("best.engine"))(image)  # checks the kernels
    gc.collect()
    before = runner._pinned._lent
    copies = [runner.handed_over(image) for _ in range(100)]
    for copy in copies:
        runner.give_back(copy)
    del copies, copy
    assert runner._pinned._lent - before <= 16 * 65_536, "16 pieces, each less than twice the image"


def test_what_is_no_copy_is_not_taken(opened: tuple[Any, Any], image: Any) -> None:
    """A page-locked array of the caller, and a copy that was given back before."""
    _, runner = opened
    Model(runner, SPEC, Path("best.engine"))(image)  # checks the kernels
    own = runner.input_array(image.shape, np.uint8)
    runner.give_back(runner.handed_over(own))
    assert not runner._images._idle
    copy = runner.handed_over(image)
    for _ in range(2):
        runner.give_back(copy)
    assert len(runner._images._idle) == 1


def test_a_runner_may_hand_over_images_and_take_none_back(
    opened: tuple[Any, Any], image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    monkeypatch.setattr(batches, "_SMALL", 0)
    _, runner = opened
    monkeypatch.delattr(type(runner), "give_back")
    model = Model(runner, SPEC, Path("best.engine"))
    for _ in range(2):
        np.testing.assert_array_equal(model(image)[0].arrays["same"], values(image))  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("memory", ["GPU", "page-locked", "pageable"])
def test_a_stream_keeps_images_until_the_gpu_has_read_them(
    opened: tuple[Any, Any], on_device: Any, memory: str, count: int
) -> None:
    """It holds the only references: the next images are allocated in the same memory."""
    gpu, runner = opened
    Model(runner, SPEC, Path("best.engine"))(made(0))  # checks the kernels

    def image_in(seed: int) -> Any:
        if memory == "GPU":
            found = on_device(gpu, made(seed))
            weakref.finalize(found, gpu._release, found.pointer).atexit = False
            return found
        if memory == "pageable":
            return made(seed)
        locked = runner.input_array((*SIZE, 3), np.uint8)
        locked[...] = made(seed)
        return locked

    seeds = [range(count * batch, count * (batch + 1)) for batch in range(12)]
    results = BatchPipeline(runner, Processing(SPEC)).results((list(map(image_in, some)) for some in seeds), SPEC)
    with closing(results):
        for some, result in zip(seeds, results, strict=True):
            for seed, prediction in zip(some, result.predictions, strict=True):
                np.testing.assert_array_equal(prediction.arrays["same"], values(made(seed)))  # type: ignore[union-attr]


def made(seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)
