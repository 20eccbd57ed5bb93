"""Images prepared by the kernel: the values are those of the CPU, whatever memory the images are in."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime import compiled, placed_images
from adaptrt.backends.tensorrt.runtime.ways import FastestWay
from adaptrt.errors import DependencyError, ImageError
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.processing import Processing
from adaptrt.vision.taps import taps_of
from adaptrt.vision.transforms import transform_batch

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZES = [(50, 90), (64, 32), (97, 13), (32, 48), (96, 144), (200, 300)]


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # images do not depend on the generation


def spec_of(**transform: Any) -> ModelSpec:
    image = ImageTransform(**transform)
    sizes = [Dim.fixed(32), Dim.fixed(48)]
    axes = [*sizes, Dim.fixed(3)] if image.embedded else [Dim.fixed(3), *sizes]
    shape = (Dim(1, 2, 8, "batch"), *axes)
    return ModelSpec(inputs=(InputSpec("images", (shape,), "uint8" if image.embedded else "float32"),), image=image)


def plan_of(*, embedded: bool = False, large: bool = False) -> fake_gpu.Plan:
    """Returns its input, and with ``large`` more than a graph copies."""
    tail = (32, 48, 3) if embedded else (3, 32, 48)
    dtype = "uint8" if embedded else "float32"
    images = fake_gpu.Tensor("images", dtype, [((1, *tail), (2, *tail), (8, *tail))])
    outputs = [fake_gpu.Tensor("same", dtype, shape=lambda x: x, compute=lambda x: x)]
    if large:
        outputs.append(fake_gpu.Tensor("wide", shape=lambda x: (x[0], 1 << 18), compute=_wide))
    return fake_gpu.Plan([images], outputs)


def _wide(images: Any) -> Any:
    return np.full((len(images), 1 << 18), 3, np.float32)


def pixels(seed: int = 0, sizes: list[tuple[int, int]] = SIZES) -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def run(runner: Any, spec: ModelSpec, images: list[Any], rows: int = 0) -> tuple[dict[str, Any], list[Any]]:
    batch = runner.image_batch(spec, rows or len(images))
    assert batch is not None, runner.warnings
    metas = [batch.take(index, image) or batch.write(index, image) for index, image in enumerate(images)]
    batch.fill(len(images))
    return runner.start_images(batch).result(), metas


@pytest.fixture
def engine(
    make_bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Any, Any, list[str]]]:
    def make(**options: Any) -> tuple[Any, Any, list[str]]:
        bench = make_bench(plan_of(**options))
        launched = host_kernels.install(monkeypatch, bench.gpu)
        return bench, bench.open(), launched

    return make


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop", "square"])
@pytest.mark.parametrize("memory", ["host", "pinned", "device"])
def test_values_and_places_are_those_of_the_cpu(engine: Any, on_device: Any, memory: str, resize: str) -> None:
    bench, runner, launched = engine()
    spec = spec_of(resize=resize, colors="bgr", **IMAGENET)
    images = pixels()
    expected, metas = transform_batch(images, spec)
    given = {"host": lambda x: x, "pinned": lambda x: pinned(runner, x), "device": lambda x: on_device(bench.gpu, x)}
    outputs, found = run(runner, spec, [given[memory](image) for image in images])
    np.testing.assert_array_equal(outputs["same"], expected["images"])
    assert found == metas
    assert "preprocess" in launched
    assert not runner.warnings


def pinned(runner: Any, image: Any) -> Any:
    array = runner.input_array(image.shape, np.uint8)
    array[...] = image
    return array


def test_pixels_for_a_graph_that_normalizes(engine: Any, on_device: Any) -> None:
    bench, runner, _ = engine(embedded=True)
    spec = spec_of(embedded=True, pad=99)
    images = pixels()
    expected, _ = transform_batch(images, spec)
    outputs, _ = run(runner, spec, [images[0], *(on_device(bench.gpu, image) for image in images[1:])])
    np.testing.assert_array_equal(outputs["same"], expected["images"])


def test_resampling_that_the_kernel_lacks_stays_on_the_cpu(engine: Any, on_device: Any) -> None:
    bench, runner, _ = engine()
    spec = spec_of(resize="stretch", library="pil", interpolation="cubic")
    images = pixels()
    outputs, _ = run(runner, spec, [on_device(bench.gpu, image) for image in images])
    np.testing.assert_array_equal(outputs["same"], transform_batch(images, spec)[0]["images"])
    assert "does not compute pil cubic" in " ".join(runner.warnings)


def test_images_that_are_resized_in_float32_are_prepared_on_the_cpu(engine: Any) -> None:
    _, runner, _ = engine()
    assert runner.image_batch(spec_of(resize="stretch", library="torch"), 2) is None
    assert "library torch" in " ".join(runner.warnings)


def test_a_batch_is_filled_with_its_last_image(engine: Any) -> None:
    _, runner, _ = engine()
    images = pixels()[:2]
    outputs, _ = run(runner, spec_of(), images, rows=4)
    expected, _ = transform_batch([*images, images[1], images[1]], spec_of())
    np.testing.assert_array_equal(outputs["same"], expected["images"])


@pytest.mark.parametrize("large", [False, True])
def test_calls_are_one_graph_once_shapes_repeat(engine: Any, large: bool) -> None:
    bench, runner, _ = engine(large=large)
    spec = spec_of()
    for seed in range(5):
        images = pixels(seed, SIZES[seed % 2 :] + SIZES[: seed % 2])
        outputs, _ = run(runner, spec, images)
        np.testing.assert_array_equal(outputs["same"], transform_batch(images, spec)[0]["images"])
        if large:
            assert (outputs["wide"] == 3).all()
    assert bench.gpu.counts["instantiate"] == 1
    assert bench.gpu.counts["launch"] == 4


def test_a_batch_takes_images_of_every_memory(engine: Any, on_device: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are copied lie side by side in one block, between images that the kernel reads elsewhere or the CPU resizes."""
    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.image_batch._PART", 1 << 10)
    monkeypatch.setattr(placed_images, "_ways", lambda rows: FastestWay(["copy"]))
    bench, runner, _ = engine()
    spec = spec_of()
    kinds = [
        lambda x: x,
        lambda x: x,
        lambda x: pinned(runner, x),
        lambda x: on_device(bench.gpu, x),
        np.asfortranarray,
    ]
    split = 0
    for seed in range(4):
        images = pixels(seed, SIZES[: 4 + seed % 3])
        given = [kinds[(index * index + seed) % len(kinds)](image) for index, image in enumerate(images)]
        batch = runner.image_batch(spec, len(images))
        metas = [batch.take(index, image) for index, image in enumerate(given)]
        jobs = batch.copies(3)
        split += len(jobs) > sum(given[index] is images[index] for index in range(len(images)))
        for job in reversed(jobs):
            job()
        metas = [
            meta or batch.write(index, image) for index, (meta, image) in enumerate(zip(metas, given, strict=True))
        ]
        batch.fill(len(images))
        expected, places = transform_batch(images, spec)
        np.testing.assert_array_equal(runner.start_images(batch).result()["same"], expected["images"])
        assert metas == places
    assert split


def test_a_batch_is_used_again_with_images_of_other_sizes(engine: Any) -> None:
    _, runner, _ = engine()
    spec, used = spec_of(), set()
    for seed in range(8):
        images = pixels(seed, [SIZES[(seed + index) % len(SIZES)] for index in range(2)])
        batch = runner.image_batch(spec, 2)
        used.add(id(batch))
        for index, image in enumerate(images):
            assert batch.take(index, image) is not None or batch.write(index, image)
        batch.fill(2)
        expected, _ = transform_batch(images, spec)
        np.testing.assert_array_equal(runner.start_images(batch).result()["same"], expected["images"])
    assert len(used) == 1


def test_page_locked_memory_of_another_size_is_allocated_once(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of sizes that are no longer needed make room: allocation takes longer than to copy an image."""
    bench, runner, _ = engine()
    pool = runner._pinned
    monkeypatch.setattr(pool, "_limit", 1 << 20)
    monkeypatch.setattr(pool, "_most", 1 << 20)
    held = [pool.allocate(100 << 10) for _ in range(12)]  # more than the limit
    most = bench.gpu.used("host")
    del held
    for size in (300 << 10, 700 << 10, 200 << 10):
        pool.allocate(size)
        before = bench.gpu.counts["allocate host"]
        for _ in range(5):
            pool.allocate(size)
        assert bench.gpu.counts["allocate host"] == before
    assert bench.gpu.used("host") <= most + (1 << 20)
    held = [pool.allocate(100 << 10) for _ in range(12)]
    before = bench.gpu.counts["allocate host"]
    del held
    again = [pool.allocate(100 << 10) for _ in range(12)]  # as many as before, although that is more than the limit
    assert len(again) == 12
    assert bench.gpu.counts["allocate host"] == before


def test_arrays_and_images_share_an_engine(engine: Any) -> None:
    _, runner, _ = engine()
    spec, images = spec_of(), pixels()
    arrays, _ = transform_batch(images, spec)
    for _ in range(3):
        np.testing.assert_array_equal(run(runner, spec, images)[0]["same"], arrays["images"])
        np.testing.assert_array_equal(runner.run(arrays)["same"], arrays["images"])


def test_results_stay_when_memory_is_used_again(engine: Any) -> None:
    _, runner, _ = engine()
    spec = spec_of()
    kept = [(images, run(runner, spec, images)[0]["same"]) for images in (pixels(seed) for seed in range(6))]
    for images, found in kept:
        np.testing.assert_array_equal(found, transform_batch(images, spec)[0]["images"])


def test_without_nvrtc_images_are_prepared_on_the_cpu(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runner, _ = engine()

    def missing(*_: object) -> bytes:
        raise DependencyError("NVRTC cannot be loaded.")

    monkeypatch.setattr(compiled, "binary_for", missing)
    assert runner.image_batch(spec_of(), 2) is None
    assert "images are prepared on the CPU: NVRTC cannot be loaded." in " ".join(runner.warnings)


def test_a_kernel_with_other_values_is_not_used(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, runner, _ = engine()
    zeros = np.zeros((3, 257), np.float32)
    monkeypatch.setattr("adaptrt.vision.transforms.value_table", lambda transform, channels: zeros)
    assert runner.image_batch(spec_of(), 2) is None
    assert "other values" in " ".join(runner.warnings)


def test_an_opencv_with_other_pixels_resizes_on_the_cpu(
    engine: Any, on_device: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version may resample otherwise: images on the device are then copied to the host."""
    from adaptrt.backends.tensorrt.runtime import placed_images as module

    nearest = ImageTransform(interpolation="nearest")
    monkeypatch.setattr(module, "taps_of", lambda transform, *sizes: taps_of(nearest, *sizes))
    bench, runner, _ = engine()
    images = pixels()
    outputs, _ = run(runner, spec_of(), [on_device(bench.gpu, image) for image in images])
    np.testing.assert_array_equal(outputs["same"], transform_batch(images, spec_of())[0]["images"])
    assert "this OpenCV gives other pixels" in " ".join(runner.warnings)


def test_images_on_the_device_are_bytes_in_rows(engine: Any, on_device: Any) -> None:
    bench, runner, _ = engine()
    batch = runner.image_batch(spec_of(), 1)
    with pytest.raises(ImageError, match=r"\[H, W, 3\]"):
        batch.take(0, on_device(bench.gpu, np.zeros((3, 8, 8), np.uint8)))
    with pytest.raises(ImageError, match="float32"):
        batch.take(0, on_device(bench.gpu, np.zeros((8, 8, 3), np.float32)))


def test_a_slow_producer_is_waited_for(engine: Any, on_device: Any) -> None:
    bench, runner, _ = engine()
    spec, (image, *_) = spec_of(), pixels()
    run(runner, spec, [image])
    stream = int(bench.gpu.cudaStreamCreateWithFlags(1)[1])
    outputs, _ = run(runner, spec, [on_device(bench.gpu, image, stream)])
    np.testing.assert_array_equal(outputs["same"], transform_batch([image], spec)[0]["images"])


def test_any_thread_may_call(engine: Any) -> None:
    """The driver knows no context in a thread that never selected a device."""
    _, runner, _ = engine()
    spec, images = spec_of(), pixels()
    expected, _ = transform_batch(images, spec)
    with ThreadPoolExecutor(4) as threads:
        for found, _ in threads.map(lambda _: run(runner, spec, images), range(8)):
            np.testing.assert_array_equal(found["same"], expected["images"])


def batch_of(runner: Any, images: list[Any]) -> Any:
    batch = runner.image_batch(spec_of(), len(images))
    for index, image in enumerate(images):
        batch.write(index, image)
    batch.fill(len(images))
    return batch


def test_runs_in_progress_have_their_own_results(engine: Any) -> None:
    _, runner, _ = engine()
    for _ in range(3):
        given = [pixels(seed) for seed in range(3)]
        started = [runner.start_images(batch_of(runner, images), wait=not index) for index, images in enumerate(given)]
        for images, one in reversed(list(zip(given, started, strict=True))):
            np.testing.assert_array_equal(one.result()["same"], transform_batch(images, spec_of())[0]["images"])


def test_a_thread_does_not_wait_for_its_own_runs(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench(plan_of())
    host_kernels.install(monkeypatch, bench.gpu)
    runner, images = bench.open(contexts=2), pixels()
    first, second = (runner.start_images(batch_of(runner, images), wait=not index) for index in range(2))
    assert runner.start_images(batch_of(runner, images), wait=False) is None
    first.close()
    third = runner.start_images(batch_of(runner, images), wait=False)
    for one in (second, third):
        np.testing.assert_array_equal(one.result()["same"], transform_batch(images, spec_of())[0]["images"])


@pytest.mark.parametrize("memory", ["host", "device"])
def test_batches_of_a_stream_overlap(engine: Any, on_device: Any, memory: str) -> None:
    """One batch runs while the next is taken; a stream that is left early gives every context back."""
    bench, runner, _ = engine()
    spec = spec_of()
    pipeline = BatchPipeline(runner, Processing(spec))
    batches = [pixels(seed) for seed in range(7)]
    given = [[on_device(bench.gpu, image) if memory == "device" else image for image in images] for images in batches]
    results = list(pipeline.results(given, spec))
    for images, result in zip(batches, results, strict=True):
        found = np.stack([one.arrays["same"] for one in result.predictions])
        np.testing.assert_array_equal(found, transform_batch(images, spec)[0]["images"])
    assert len(runner._pool.lanes) == runner.concurrent_images
    left = pipeline.results(given, spec)
    next(left)
    left.close()
    assert len(runner._pool._free) == len(runner._pool.lanes)


@pytest.mark.full
def test_memory_stays_flat_over_calls_and_threads(engine: Any, on_device: Any) -> None:
    """Sizes, memory and the number of images change from call to call."""
    bench, runner, _ = engine()
    device = [on_device(bench.gpu, image) for image in pixels()]

    def call(number: int) -> None:
        images = [image if (number + index) % 3 else device[index] for index, image in enumerate(pixels(number))]
        run(runner, spec_of(), images[: 1 + number % len(images)])

    used = []
    with ThreadPoolExecutor(8) as threads:
        for start in (0, 120, 240):
            list(threads.map(call, range(start, start + 120)))
            used.append((bench.gpu.used("device"), bench.gpu.used("host")))
    for before, after in zip(used[1], used[2], strict=True):
        assert after <= 1.25 * before  # how many calls overlap differs; a block lost in each call would double it


def test_an_image_that_cannot_be_read_ends_a_stream(engine: Any, tmp_path: Any) -> None:
    _, runner, _ = engine()
    pipeline = BatchPipeline(runner, Processing(spec_of()))
    batches = [pixels(), [*pixels()[:2], tmp_path / "b.png", tmp_path / "a.png"], pixels()]
    with pytest.raises(ImageError, match=r"b\.png"):
        list(pipeline.results(batches, spec_of()))
    assert len(list(pipeline.results(batches[:1], spec_of()))) == 1
    assert len(runner._pool._free) == len(runner._pool.lanes)
