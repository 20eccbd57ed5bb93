"""Threads that each call one engine with an image and wait for their result: that of a call alone, on a real GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import numpy as np
import pytest
from gpu_commands import Commands

import adaptrt
from adaptrt.pipeline.load import Model

THREADS, CALLS = 8, 60
SEPARATE, JOINED = 1, 8
Same = Callable[[Any, Any], bool]


@pytest.fixture(params=[SEPARATE, JOINED], ids=["separate", "joined"])
def join_calls(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def model(full: Commands, join_calls: int) -> Iterator[Model]:
    full.built("fp32")
    with adaptrt.load(full.engine("fp32"), join_calls=join_calls) as model:
        yield model


@pytest.fixture
def pixels(full: Commands) -> list[np.ndarray[Any, Any]]:
    """Of each image of the set, in the sizes of several cameras."""
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted(full.images.iterdir())]
    sizes = [(1280, 720), (640, 480), (1920, 1080)]
    return [cv2.resize(image, sizes[index % 3]) for index, image in enumerate(images)]


@pytest.fixture
def same(join_calls: int) -> Same:
    """Bit for bit; in a batch, the sums of another batch size."""

    def compare(one: Any, other: Any) -> bool:
        if join_calls == SEPARATE:
            return all(
                np.array_equal(getattr(one, name), getattr(other, name)) for name in ("boxes", "scores", "labels")
            )
        return len(one) == len(other) and all(
            np.allclose(getattr(one, name), getattr(other, name), rtol=0, atol=limit)
            for name, limit in (("boxes", 0.1), ("scores", 0.002), ("labels", 0))
        )

    return compare


def same_as_alone(model: Model, pixels: list[Any], same: Same, placed: Callable[[Any, int, int], Any]) -> None:
    """``placed(image, thread, number)``: the image of a call, in the memory that the test is about."""
    alone = [model(image)[0] for image in pixels]
    assert all(len(found) for found in alone)

    def calls(thread: int) -> list[tuple[int, int]]:
        different = []
        for number in range(CALLS):
            index = (thread + number) % len(pixels)
            if not same(model(placed(pixels[index], thread, number))[0], alone[index]):
                different.append((thread, number))
        return different

    with ThreadPoolExecutor(THREADS) as threads:
        assert [wrong for one in threads.map(calls, range(THREADS)) for wrong in one] == []


def test_host_images(model: Model, pixels: list[Any], same: Same) -> None:
    same_as_alone(model, pixels, same, lambda image, *_: image)


def test_images_on_busy_streams(model: Model, pixels: list[Any], same: Same, on_device: Any, busy_stream: Any) -> None:
    """Each thread's images are copied by a stream of its own, which is behind."""
    streams = [busy_stream() for _ in range(THREADS)]

    def placed(image: Any, thread: int, number: int) -> Any:
        if number % 20 == 0:
            busy_stream.delay(streams[thread])
        return on_device(image, streams[thread])

    same_as_alone(model, pixels, same, placed)


def test_torch_images_on_streams_of_threads(model: Model, pixels: list[Any], same: Same) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    streams = [torch.cuda.Stream() for _ in range(THREADS)]

    def placed(image: Any, thread: int, number: int) -> Any:
        torch.cuda.set_stream(streams[thread])  # of this thread, for the call too
        torch.empty(1 << 26, device="cuda").normal_()  # the stream is behind
        return torch.from_numpy(image.copy()).cuda(non_blocking=True) + 0

    same_as_alone(model, pixels, same, placed)
