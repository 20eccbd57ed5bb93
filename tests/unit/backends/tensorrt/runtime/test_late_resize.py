"""An image that is alone is resized right before its run, by the thread that starts it: then little Python is left to run with cold caches."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime.graphs import Graph
from adaptrt.backends.tensorrt.runtime.lanes import Lane
from adaptrt.errors import ImageError, PluginError
from adaptrt.pipeline import batches
from adaptrt.pipeline.load import Model
from adaptrt.vision import transforms
from adaptrt.vision.images import write_image
from adaptrt.vision.transforms import transform_batch

SHAPE = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
SPEC = ModelSpec(inputs=(InputSpec("images", (SHAPE,), "float32"),), image=ImageTransform())
LARGE = (270, 480)  # always resized on the CPU: it has far more pixels than the input
Events = list[tuple[str, str]]


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # images do not depend on the generation


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    """What happens to an image, each with the name of the thread."""
    found: Events = []

    def record(owner: Any, name: str, what: str) -> None:
        real = getattr(owner, name)

        def recorded(*given: Any, **named: Any) -> Any:
            found.append((what, threading.current_thread().name))
            return real(*given, **named)

        monkeypatch.setattr(owner, name, recorded)

    record(transforms, "write_visible", "resize")
    record(Lane, "take_over", "context")
    record(Graph, "launch", "launch")
    return found


def pixels(seed: int = 0, size: tuple[int, int] = LARGE) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def values(image: Any) -> Any:
    return transform_batch([image], SPEC)[0]["images"][0]


@pytest.mark.parametrize("memory", ["array", "file"])
def test_the_resize_is_the_last_step_before_the_launch(
    opened: tuple[Any, Any], events: Events, tmp_path: Path, memory: str
) -> None:
    model = Model(opened[1], SPEC, Path("best.engine"))
    for seed in range(4):
        image = pixels(seed)
        given = image if memory == "array" else write_image(tmp_path / "image.png", image)
        expected = values(image)
        events.clear()
        np.testing.assert_array_equal(model(given)[0].arrays["same"], expected)  # type: ignore[union-attr]
        if seed > 1:  # the second call captures a graph
            assert [what for what, _ in events] == ["context", "resize", "launch"]


def test_threads_resize_their_images_beside_the_one_that_runs_them(
    opened: tuple[Any, Any], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one would resize them one after another."""
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    monkeypatch.setattr(batches, "_LARGE", 1)
    model, image = Model(opened[1], SPEC, Path("best.engine")), pixels()
    expected = values(image)
    for _ in range(2):  # the second call captures a graph
        model(image)
    events.clear()
    np.testing.assert_array_equal(model(image)[0].arrays["same"], expected)  # type: ignore[union-attr]
    assert events[0] == ("resize", threading.current_thread().name)
    assert ("launch", "adaptrt-calls") in events


def test_lists_are_resized_by_several_threads_first(opened: tuple[Any, Any], events: Events) -> None:
    model, images = Model(opened[1], SPEC, Path("best.engine")), [pixels(0), pixels(1)]
    expected = [values(image) for image in images]
    for _ in range(2):  # the second call captures a graph
        model(images)
    events.clear()
    for found, wanted in zip(model(images), expected, strict=True):
        np.testing.assert_array_equal(found.arrays["same"], wanted)  # type: ignore[union-attr]
    assert [what for what, _ in events] == ["resize", "resize", "context", "launch"]


def test_the_time_of_the_resize_is_that_of_preprocessing(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, image = Model(opened[1], SPEC, Path("best.engine")), pixels()
    model(image)  # checks the kernels
    resize = transforms.write_visible
    monkeypatch.setattr(transforms, "write_visible", lambda *given: (time.sleep(0.2), resize(*given))[1])
    before = time.perf_counter()
    timing = model._pipeline.result([image], SPEC).timing
    spent = time.perf_counter() - before
    assert timing.preprocess >= 0.2
    assert timing.run <= spent - 0.2


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (RuntimeError("no threads"), PluginError, "core failed in preprocess: RuntimeError: no threads"),
        (ImageError("too large"), ImageError, "^too large"),
    ],
)
def test_an_error_of_the_resize_is_that_of_preprocessing_and_the_next_call_works(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type[Exception], text: str
) -> None:
    _, runner = opened
    model, image = Model(runner, SPEC, Path("best.engine")), pixels()
    expected = values(image)
    for _ in range(3):
        model(image)

    def fails(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(transforms, "write_visible", fails)
        for _ in range(2):
            with pytest.raises(raised, match=text):
                model(image)
    assert len(runner._pool._free) == len(runner._pool.lanes)
    np.testing.assert_array_equal(model(image)[0].arrays["same"], expected)  # type: ignore[union-attr]
