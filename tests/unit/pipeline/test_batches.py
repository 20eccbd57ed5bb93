"""Lists of images: batches overlap, and every value stays the same as one step after another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

cv2 = pytest.importorskip("cv2", reason="images need OpenCV")

import numpy as np  # noqa: E402

from adaptrt.errors import ImageError, ModelError  # noqa: E402
from adaptrt.pipeline.batches import BatchPipeline  # noqa: E402
from adaptrt.pipeline.box_filter import box_filter  # noqa: E402
from adaptrt.pipeline.load import Model  # noqa: E402
from adaptrt.pipeline.processing import Processing  # noqa: E402
from adaptrt.specs import DecoderSpec, ImageTransform, InputSpec, ModelSpec, OutputSpec, parse_batch  # noqa: E402
from adaptrt.vision.transforms import transform_batch  # noqa: E402


def spec(batch: str = "1:4", **transform: Any) -> ModelSpec:
    return ModelSpec(
        (InputSpec.image(24, 32, batch=parse_batch(batch)),),
        image=ImageTransform(**transform),
        decoder=DecoderSpec("raw"),
    )


class Echo:
    """Returns its input, as a copy, and remembers who called with what."""

    backend = "echo"

    def __init__(self, answer: Callable[[Any], Any] = np.array) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self._answer = answer

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        self.shapes.append(inputs["images"].shape)
        self.threads.add(threading.get_ident())
        return {"y": self._answer(inputs["images"])}

    def close(self) -> None: ...


def photos(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (9 + 5 * index, 40 + index, 3), np.uint8) for index in range(count)]


def values(model: Model, images: Any) -> np.ndarray:
    return np.stack([one.arrays["y"] for one in model(images)])  # type: ignore[union-attr]


@pytest.mark.parametrize("batch", ["1", "1:4", "3", "2:16"])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_lists_have_the_values_of_transform_batch(batch: str, count: int) -> None:
    wanted = spec(batch, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    model = Model(Echo(), wanted, Path("net"))
    images = photos(count)
    expected = transform_batch(images, wanted)[0]["images"]
    for _ in range(3):  # buffers are reused from the second call on
        assert np.array_equal(values(model, images), expected)


def test_outputs_that_are_views_of_the_input_stay_valid() -> None:
    model = Model(Echo(lambda array: array[:]), spec(), Path("net"))
    first, second = photos(4), photos(5)
    expected = transform_batch(first, spec())[0]["images"]
    kept = model(first)
    model(second)
    assert np.array_equal(np.stack([one.arrays["y"] for one in kept]), expected)  # type: ignore[union-attr]


def test_one_batch_runs_in_the_calling_thread_and_the_buffer_is_reused() -> None:
    addresses = []

    def answer(array: np.ndarray) -> np.ndarray:
        addresses.append(array.ctypes.data)
        return array.copy()

    runner = Echo(answer)
    model = Model(runner, spec(), Path("net"))
    for _ in range(5):
        model(photos(3))
    assert runner.threads == {threading.get_ident()}
    assert len(set(addresses)) == 1


def test_the_next_batch_is_prepared_while_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.vision import transforms

    prepared, original = threading.Event(), transforms.transform_image

    def transform(image: Any, *args: Any, **options: Any) -> Any:
        if image.shape[0] == 200:
            prepared.set()
        return original(image, *args, **options)

    monkeypatch.setattr(transforms, "transform_image", transform)
    seen = []

    def answer(array: np.ndarray) -> np.ndarray:
        seen.append(prepared.wait(30))
        return array.copy()

    second = np.zeros((200, 200, 3), np.uint8)
    Model(Echo(answer), spec("1"), Path("net"))([photos(1)[0], second])
    assert seen == [True, True]


def test_the_first_error_is_raised(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    model = Model(Echo(), spec(), Path("net"))
    images = [photos(1)[0], tmp_path / "b.png", tmp_path / "a.png"]
    with pytest.raises(ImageError, match=r"b\.png is empty"):
        model(images)
    assert len(model(photos(3))) == 3

    def fail(array: np.ndarray) -> np.ndarray:
        raise ModelError(f"run {len(runner.shapes)}")

    runner = Echo(fail)
    with pytest.raises(ModelError, match="run 1"):
        Model(runner, spec(), Path("net"))([*photos(4), tmp_path / "a.png"])


def test_hooks_of_plugins_run_in_the_calling_thread(install_extension: Callable[..., str]) -> None:
    module = install_extension(
        "invert",
        """
        import threading
        threads = set()

        @hookimpl(wrapper=True)
        def preprocess(image, spec):
            threads.add(threading.get_ident())
            arrays, meta = yield
            return {name: 1 - array for name, array in arrays.items()}, meta

        @hookimpl(wrapper=True)
        def postprocess(outputs, metas, spec):
            threads.add(threading.get_ident())
            return (yield)
        """,
    )
    import sys

    images = photos(9)
    runner = Echo()
    found = values(Model(runner, spec(), Path("net")), images)
    assert np.array_equal(found, 1 - transform_batch(images, spec())[0]["images"])
    assert sys.modules[module].threads == {threading.get_ident()}
    assert threading.get_ident() not in runner.threads


def test_a_runner_that_allocates_its_inputs_gets_them_back() -> None:
    class Allocating(Echo):
        concurrent_calls = 2
        made: list[np.ndarray] = []  # noqa: RUF012

        def input_array(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
            self.made.append(np.full(shape, np.nan, dtype))
            return self.made[-1]

        def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
            assert any(inputs["images"] is array for array in self.made)
            return super().run(inputs)

    runner = Allocating()
    images = photos(40)
    assert np.array_equal(
        values(Model(runner, spec(), Path("net")), images), transform_batch(images, spec())[0]["images"]
    )
    assert len(runner.made) <= 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_threads() -> None:
    model = Model(Echo(), spec(), Path("net"))
    model(photos(4))
    child = os.fork()
    if child == 0:
        os._exit(0 if len(model(photos(4))) == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0


class PreparingRunner:
    """Takes images itself, and returns only the boxes that the filter keeps, as an engine on a GPU does."""

    backend = "preparing"

    def __init__(self, values: np.ndarray[Any, Any]) -> None:
        self.values, self.filters = values, []

    def image_batch(self, spec: ModelSpec, rows: int) -> Any:
        self.batch = [None] * rows
        self.spec = spec
        return self

    def take(self, index: int, image: Any) -> Any:
        return None

    def copies(self, threads: int) -> list[Callable[[], Any]]:
        return []

    def write(self, index: int, image: Any) -> Any:
        self.batch[index] = image
        return transform_batch([image], self.spec)[1][0]

    def fill(self, count: int) -> None:
        self.count = count

    def start_images(self, batch: Any, boxes: Any = None, *, wait: bool = True) -> Any:
        self.boxes = boxes
        return self

    def result(self) -> dict[str, Any]:
        boxes = self.boxes
        self.filters.append(boxes)
        raw = self.values[: len(self.batch)]
        kept = [np.flatnonzero((one[4:] > boxes.conf).any(0)) for one in raw]
        found = np.zeros((len(raw), raw.shape[1], max(map(len, kept))), np.float32)
        for row, places in enumerate(kept):
            found[row, :, : len(places)] = raw[row][:, places]
        return {"output0": found}

    def run(self, inputs: Any) -> dict[str, Any]:
        return {"output0": self.values[: len(inputs["images"])]}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("decoder", "row", "params"), [("yolo_pose", 57, {}), ("yolo_obb", 7, {}), ("yolo_segment", 38, {})]
)
def test_rows_that_hold_one_score_and_a_class_are_not_filtered(decoder: str, row: int, params: dict[str, Any]) -> None:
    """Where other layouts have a score for each class, they have the number of the class: 0 would pass no limit."""
    outputs = [OutputSpec("output0", ("batch", 300, row)), OutputSpec("output1", ("batch", 32, 16, 16))]
    spec = ModelSpec(
        inputs=(InputSpec.image(64, 64),),
        outputs=tuple(outputs[: 2 if decoder == "yolo_segment" else 1]),
        image=ImageTransform(),
        decoder=DecoderSpec(decoder, {"rows": "end2end", "iou": None, **params}),
        labels=("a",),
    )
    assert box_filter(spec, Processing(spec)) is None
    dense = ModelSpec(
        inputs=spec.inputs,
        outputs=(OutputSpec("output0", ("batch", row - 1, 8400)), *spec.outputs[1:]),
        image=spec.image,
        decoder=DecoderSpec(decoder, {"rows": "dense", **params}),
        labels=("a",),
    )
    assert box_filter(dense, Processing(dense)) is not None


def test_predictions_do_not_depend_on_boxes_that_stay_on_the_device() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((2, 7, 500), np.float32)
    values[:, :2] *= 64
    values[:, 2:4] = values[:, 2:4] * 20 + 2
    detector = ModelSpec(
        inputs=(InputSpec.image(64, 64),),
        outputs=(OutputSpec("output0", ("batch", 7, 500)),),
        task="detect",
        image=ImageTransform(),
        decoder=DecoderSpec("yolo", {"conf": 0.9}),
        labels=("a", "b", "c"),
    )
    images = [rng.integers(0, 256, (40, 60, 3), np.uint8) for _ in range(2)]
    runner = PreparingRunner(values)
    filtered = next(iter(BatchPipeline(runner, Processing(detector)).results([images], detector)))
    assert runner.filters[0].conf == 0.9
    whole = type("Whole", (), {"backend": "whole", "run": runner.run, "close": runner.close})()
    expected = next(iter(BatchPipeline(whole, Processing(detector)).results([images], detector)))
    for one, other in zip(filtered.predictions, expected.predictions, strict=True):
        assert len(one) > 10
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.labels, other.labels)


class CopyingRunner:
    """Copies images in jobs, and remembers the order of what happens to batches. An image is its batch's number."""

    backend, concurrent_images = "copying", 2

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.fails: set[tuple[str, int]] = set()

    def happens(self, what: str, number: int) -> None:
        self.events.append((what, number))
        if (what, number) in self.fails:
            raise ImageError(f"{what} {number}")

    def image_batch(self, spec: ModelSpec, rows: int) -> Any:
        runner = self

        class Batch:
            number = -1

            def take(self, index: int, image: Any) -> Any:
                self.number = int(image[0, 0, 0])
                runner.happens("take", self.number)
                return transform_batch([image], spec)[1][0]

            def copies(self, threads: int) -> list[Callable[[], Any]]:
                return [lambda: runner.happens("copy", self.number)]

            def fill(self, count: int) -> None:
                pass

        return Batch()

    def start_images(self, batch: Any, boxes: Any = None, *, wait: bool = True) -> Any:
        self.happens("start", batch.number)
        runner = self

        class Run:
            def result(self) -> dict[str, Any]:
                runner.happens("result", batch.number)
                return {"y": np.zeros((1, 1), np.float32)}

            def close(self) -> None:
                pass

        return Run()

    def run(self, inputs: Any) -> dict[str, Any]:
        raise AssertionError

    def stream(self, count: int, *, ahead: bool = True) -> list[Any]:
        one = spec("1")
        batches = ([np.full((9, 9, 3), number, np.uint8)] for number in range(count))
        return list(BatchPipeline(self, Processing(one)).results(batches, one, ahead=ahead))


def test_the_next_batch_is_copied_before_the_one_that_is_there_starts() -> None:
    """Threads that copy would wait for the start, and for the results of batches before, otherwise."""
    runner = CopyingRunner()
    assert len(runner.stream(5)) == 5
    for number in range(4):
        assert runner.events.index(("copy", number + 1)) < runner.events.index(("start", number))
    assert runner.events.index(("take", 3)) > runner.events.index(("start", 1)), "only one is ahead"
    assert [event for event in runner.events if event[0] == "result"] == [("result", number) for number in range(5)]


def test_a_live_source_is_asked_for_a_frame_after_the_last_one_is_used() -> None:
    runner = CopyingRunner()
    assert len(runner.stream(3, ahead=False)) == 3
    assert runner.events == [(what, one) for one in range(3) for what in ("take", "copy", "start", "result")]


@pytest.mark.parametrize(
    ("fails", "raised"),
    [
        ([("copy", 2), ("take", 3)], "copy 2"),
        ([("copy", 2), ("start", 1)], "start 1"),
        ([("result", 1), ("copy", 3)], "result 1"),
        ([("take", 3)], "take 3"),
    ],
)
def test_the_error_of_an_earlier_batch_comes_first(fails: list[tuple[str, int]], raised: str) -> None:
    runner = CopyingRunner()
    runner.fails = set(fails)
    with pytest.raises(ImageError, match=raised):
        runner.stream(6)
