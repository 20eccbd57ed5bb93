"""What a call on images asks of CUDA: as little as possible, since each call of it gives up the interpreter lock."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_gpu
import numpy as np
import pytest
from forked import forks, succeeds_in_fork
from patience import HANG, wait_until

from adaptrt import Dim, ImageTransform, InputSpec, ModelSpec
from adaptrt.backends.tensorrt.runtime import image_batch, placed_images, ways
from adaptrt.backends.tensorrt.runtime import pool as pools
from adaptrt.backends.tensorrt.runtime.image_batch import ImageBatch
from adaptrt.backends.tensorrt.runtime.ways import FastestWay, Trial
from adaptrt.errors import EngineError, ImageError, ModelError
from adaptrt.pipeline import batches
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.load import Model
from adaptrt.pipeline.processing import Processing
from adaptrt.vision import images as vision_images
from adaptrt.vision.images import write_image
from adaptrt.vision.transforms import transform_batch

SIZES = [(50, 90), (64, 32), (97, 13), (32, 48), (96, 144), (200, 300)]


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # images do not depend on the generation


def spec_of(**transform: Any) -> ModelSpec:
    shape = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
    return ModelSpec(inputs=(InputSpec("images", (shape,), "float32"),), image=ImageTransform(**transform))


SPEC = spec_of()


def pixels(seed: int, size: tuple[int, int]) -> Any:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def run(runner: Any, spec: ModelSpec, images: list[Any]) -> Any:
    batch = runner.image_batch(spec, len(images))
    assert batch is not None, runner.warnings
    for index, image in enumerate(images):
        assert batch.take(index, image) or batch.write(index, image)
    batch.fill(len(images))
    return runner.start_images(batch).result()["same"]


def values(images: list[Any], spec: ModelSpec) -> Any:
    return transform_batch(images, spec)[0]["images"]


def test_a_graph_belongs_to_its_transform(opened: tuple[Any, Any]) -> None:
    """Batches of the same shape with other colors or means are other graphs."""
    specs = [spec_of(), spec_of(colors="bgr"), spec_of(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))]
    for seed in range(4):
        images = [pixels(seed, size) for size in SIZES[:2]]
        for spec in specs:
            np.testing.assert_array_equal(run(opened[1], spec, images), values(images, spec))


@pytest.mark.parametrize("memory", ["pageable", "fortran order", "file"])
def test_one_image_crosses_the_bus_in_one_copy(opened: tuple[Any, Any], memory: str, tmp_path: Path) -> None:
    """Also when its size changes, up or down."""
    gpu, runner = opened
    spec = spec_of()

    def given(image: Any) -> Any:
        if memory == "file":
            return write_image(tmp_path / "image.png", image)
        return image if memory == "pageable" else np.asfortranarray(image)

    for seed, size in enumerate([*SIZES, *SIZES[::-1]]):
        image = pixels(seed, size)
        before = gpu.counts.get("copy cudaMemcpyHostToDevice", 0)
        found = run(runner, spec, [given(image)])
        if seed:  # the first call loads and checks the kernels
            assert gpu.counts["copy cudaMemcpyHostToDevice"] == before + 1
        np.testing.assert_array_equal(found, values([image], spec))


def test_repeated_calls_are_one_copy_and_one_launch(opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Results of single calls are those of a stream."""
    monkeypatch.setattr(placed_images, "_ways", lambda rows: FastestWay(["copy"]))
    gpu, runner = opened
    spec = spec_of()
    model = Model(runner, spec, Path("best.engine"))
    images = [pixels(seed, (96, 144)) for seed in range(6)]
    alone = []
    for seed, image in enumerate(images):
        before = dict(gpu.counts)
        alone.append(model(image)[0])
        if seed > 1:  # the second call captures a graph
            grown = {name: count - before.get(name, 0) for name, count in gpu.counts.items()}
            assert {name: count for name, count in grown.items() if count} == {
                "copy cudaMemcpyHostToDevice": 1,
                "launch": 1,
            }
    stream = BatchPipeline(runner, Processing(spec)).results(([image] for image in images), spec)
    found = [result.predictions[0] for result in stream]
    for one, other, image in zip(alone, found, images, strict=True):
        np.testing.assert_array_equal(one.arrays["same"], values([image], spec)[0])
        np.testing.assert_array_equal(other.arrays["same"], one.arrays["same"])


@pytest.mark.parametrize("fastest", ["copy", "resize", "send"])
def test_the_first_images_try_each_way_and_then_the_fastest_is_taken(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    """Whatever the way, values are those of the CPU."""
    took, tried = FastestWay.took, []

    def simulated(ways: FastestWay, way: Any, seconds: float) -> None:
        assert seconds > 0
        tried.append(way)
        took(ways, way, 1.0 if way == fastest else 2.0)

    monkeypatch.setattr(FastestWay, "took", simulated)
    gpu, runner = opened
    spec = spec_of()
    images = [pixels(seed, (96, 144)) for seed in range(6)]
    copies = []
    for call in range(20):
        before = gpu.counts.get("copy rows cudaMemcpyHostToDevice", 0)
        found = run(runner, spec, [images[call % 6]])
        copies.append(gpu.counts.get("copy rows cudaMemcpyHostToDevice", 0) - before)
        np.testing.assert_array_equal(found, values([images[call % 6]], spec))
    assert tried == ["copy", "resize", "send"] * 4
    placed = runner.image_batch(spec, 1).prepared.placed((96, 144))
    assert placed.ways.next() == (fastest, False)
    assert copies[12:] == [fastest == "send"] * 8, "the driver copies the rows that are used"


def test_the_time_of_a_single_image_ends_on_the_device(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that takes less time than resizing has more to send."""
    _, runner = opened
    spec, clock = spec_of(), [0.0]
    monkeypatch.setattr(image_batch, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(ways, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    timed, send = Trial.timed, ImageBatch._send

    def work_of(trial: Trial, work: Any) -> None:
        def slow() -> None:
            work()
            clock[0] += 2 if trial._way == "copy" else 3

        timed(trial, slow)

    def sent(batch: ImageBatch, base: int, stream: int) -> None:
        send(batch, base, stream)
        clock[0] += batch.device_bytes / 4096 + (9 if batch._pageable else 0)

    monkeypatch.setattr(Trial, "timed", work_of)
    monkeypatch.setattr(ImageBatch, "_send", sent)
    for seed in range(12):
        image = pixels(seed, (96, 144))
        np.testing.assert_array_equal(run(runner, spec, [image]), values([image], spec))
    found = runner.image_batch(spec, 1).prepared.placed((96, 144)).ways
    assert found.next() == ("resize", False)


def test_a_batch_is_copied_or_resized_as_is_faster(opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its images, so that the time is that of one way."""
    _, runner = opened
    spec = spec_of()
    resized, write = [], ImageBatch._write_resized
    monkeypatch.setattr(
        ImageBatch, "_write_resized", lambda batch, *given, **late: (resized.append(1), write(batch, *given, **late))[1]
    )
    for seed in range(8):
        images = [pixels(10 * seed + index, (96, 144)) for index in range(4)]
        before = len(resized)
        np.testing.assert_array_equal(run(runner, spec, images), values(images, spec))
        if seed:  # the first call checks the kernels
            assert len(resized) - before == (4 if seed % 2 else 0)
    kept = runner.image_batch(spec, 4).prepared.placed((96, 144)).ways
    assert sorted(kept._tries) == ["copy", "resize"]
    assert all(0 < seconds < 60 for tries in kept._tries.values() for seconds in tries)
    assert kept.next()[1] is False


def test_a_batch_is_resized_only_where_that_is_twice_as_fast() -> None:
    """To resize takes more of Python's time, which is not measured."""
    for seconds, chosen in ((0.6, "copy"), (0.4, "resize")):
        found = placed_images._ways(8)
        found.took("copy", 1)
        found.took("resize", seconds)
        assert found.chosen == chosen


def test_what_single_tries_say_about_a_way() -> None:
    """In a batch, threads that wait for the interpreter lock make tries slow (ms of an image of 720p on an H200); of a single image, some are fast by
    chance.
    """
    tries: dict[int, dict[Any, list[float]]] = {
        8: {"copy": [0.18, 0.91, 0.96, 0.90], "resize": [0.22, 0.93, 0.18, 0.30]},
        1: {"copy": [0.16, 0.91, 0.96, 0.90], "resize": [0.34, 0.35, 0.31, 0.29], "send": [0.44, 0.50, 0.57, 0.50]},
    }
    for rows, chosen in ((8, "copy"), (1, "resize")):
        found = placed_images._ways(rows)
        for way, seconds in tries[rows].items():
            for one in seconds:
                found.took(way, one)
        assert found.chosen == chosen


def test_a_call_that_waits_reads_its_file(
    opened: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its own thread, which also copies pixels to page-locked memory."""
    monkeypatch.setattr(batches, "_SMALL", 0)
    _, runner = opened
    pipeline = BatchPipeline(runner, Processing(SPEC))
    image = pixels(0, (96, 144))
    file = write_image(tmp_path / "image.png", image)
    assert pipeline.ahead(image, SPEC) is image, "not known to be preprocessed on the GPU"
    assert pipeline.begin([image], SPEC)()
    for given in (image, file, str(file)):
        read = pipeline.ahead(given, SPEC)
        assert runner._pinned.block_of(read) is not None
        assert pipeline.ahead(read, SPEC) is read
        np.testing.assert_array_equal(read, image)
        (found,) = pipeline.begin([read], SPEC)().predictions
        np.testing.assert_array_equal(found.arrays["same"], values([image], SPEC)[0])
    runner._jpegs = object()
    assert pipeline.ahead(file, SPEC) is file, "decoded on the GPU"
    runner._jpegs = None


def test_joined_calls_of_many_threads_have_their_own_values(
    opened: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches run at once; memory and sizes differ from call to call."""
    monkeypatch.setattr(batches, "_SMALL", 2_000)
    _, runner = opened
    model = Model(runner, SPEC, Path("best.engine"), join_calls=4)
    images = [pixels(seed, SIZES[seed % 3]) for seed in range(12)]
    expected = [values([image], SPEC)[0] for image in images]
    given: list[Any] = [
        write_image(tmp_path / f"{seed}.png", image) if seed % 5 == 1 else image for seed, image in enumerate(images)
    ]
    for index in range(0, 12, 4):
        given[index] = runner.input_array(images[index].shape, np.uint8)
        given[index][...] = images[index]

    def calls(thread: int) -> bool:
        order = np.random.default_rng(thread).permutation(12)
        return all(np.array_equal(model(given[one])[0].arrays["same"], expected[one]) for one in order)  # type: ignore[union-attr]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(calls, range(8)))
    assert model._joined is not None
    assert model._joined.idle
    assert len(runner._pool._free) == len(runner._pool.lanes)


@pytest.mark.parametrize("large", [0, 10_000, 1 << 30])
@pytest.mark.parametrize("separate", [0, 4])
def test_calls_of_many_threads_are_those_of_one(
    opened: tuple[Any, Any], on_device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, separate: int, large: int
) -> None:
    """Each image runs alone, in the thread of its call or in one for all, which may also copy it; images lie in files and in memory of each kind."""
    monkeypatch.setattr(batches, "_SEPARATE", separate)
    monkeypatch.setattr(batches, "_SMALL", 2_000)
    monkeypatch.setattr(batches, "_LARGE", large)
    gpu, runner = opened
    model = Model(runner, SPEC, Path("best.engine"))
    images = [pixels(seed, SIZES[seed % 3]) for seed in range(12)]
    expected = [values([image], SPEC)[0] for image in images]
    given: list[Any] = list(images)
    for index in range(0, 12, 4):
        given[index] = write_image(tmp_path / f"{index}.png", images[index])
        given[index + 1] = runner.input_array(images[index + 1].shape, np.uint8)
        given[index + 1][...] = images[index + 1]
        given[index + 2] = on_device(gpu, images[index + 2])

    def calls(thread: int) -> bool:
        order = np.random.default_rng(thread).permutation(12)
        found = [np.array_equal(model(given[one])[0].arrays["same"], expected[one]) for one in order]  # type: ignore[union-attr]
        with pytest.raises(ImageError):
            model(on_device(gpu, images[0].astype(np.float32)))
        return all(found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(calls, range(8)))
    assert len(runner._pool._free) == len(runner._pool.lanes)


def test_a_thread_that_has_borrowed_outputs_runs_its_next_call_itself(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else calls would wait for contexts that their own threads hold."""
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    _, runner = opened
    runner._pool._limit = 2
    model, image = Model(runner, SPEC, Path("best.engine")), pixels(0, SIZES[0])

    def calls(_: int) -> bool:
        borrowed = runner({"images": values([image], SPEC)}, outputs="borrowed")
        found = model(image)[0].arrays["same"]
        del borrowed
        return np.array_equal(found, values([image], SPEC)[0])

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(calls, range(8)))


@pytest.mark.parametrize("join", [1, 4])
def test_a_thread_that_has_borrowed_outputs_waits_for_no_call_that_waits_for_it(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, join: int
) -> None:
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    monkeypatch.setattr(pools, "_PATIENCE", HANG)
    _, runner = opened
    runner._pool._limit = 1
    model, image = Model(runner, SPEC, Path("best.engine"), join_calls=join), pixels(0, SIZES[0])
    expected = values([image], SPEC)[0]
    borrowed = runner({"images": expected[None]}, outputs="borrowed")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(model, image)
        wait_until(lambda: len(runner._pool._waiters) == 1, "the call without a context")
        np.testing.assert_array_equal(model(image)[0].arrays["same"], expected)  # type: ignore[union-attr]
        np.testing.assert_array_equal(other.result(HANG)[0].arrays["same"], expected)
    del borrowed


def test_a_model_can_be_closed_before_its_results_end(opened: tuple[Any, Any], tmp_path: Path) -> None:
    """Runs of a generator that is suspended hold contexts, and nothing would go on with it while `close` waits."""
    _, runner = opened
    for index in range(8):
        write_image(tmp_path / f"{index}.png", pixels(index, SIZES[0]))
    with Model(runner, SPEC, Path("best.engine")) as model:
        results = model.predict(str(tmp_path))
        next(results)
        assert len(runner._pool._free) < len(runner._pool.lanes)
    with pytest.raises(ModelError, match=r"best\.engine has been closed"):
        list(results)
    assert not runner._pool.lanes


def test_a_file_is_read_once_although_the_cpu_preprocesses_it(
    opened: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    _, runner = opened
    runner._images, model = None, Model(runner, SPEC, Path("best.engine"))
    image, read, reads = pixels(0, SIZES[0]), vision_images.read_image, []
    file = write_image(tmp_path / "image.png", image)

    def counted(given: Any, *options: Any) -> Any:
        if isinstance(given, Path):
            reads.append(given)
        return read(given, *options)

    monkeypatch.setattr(vision_images, "read_image", counted)
    np.testing.assert_array_equal(model(file)[0].arrays["same"], values([image], SPEC)[0])  # type: ignore[union-attr]
    assert reads == [file]


@forks
@pytest.mark.parametrize("separate", [0, 4])
@pytest.mark.parametrize("join", [1, 4])
def test_an_engine_says_that_it_does_not_work_in_a_forked_process(
    opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, join: int, separate: int
) -> None:
    """CUDA does not. Nothing waits there for what threads of the parent were doing, and no work is given to the GPU."""
    monkeypatch.setattr(batches, "_SEPARATE", separate)
    monkeypatch.setattr(batches, "_SMALL", 0)
    gpu, runner = opened
    model, image = Model(runner, SPEC, Path("best.engine"), join_calls=join), pixels(0, SIZES[0])
    model(image)
    calls = [
        lambda: model(image),
        lambda: model._pipeline.ahead(image, SPEC),
        lambda: model([image] * 20),
        lambda: runner.run({"images": values([image], SPEC)}),
        lambda: runner({"images": values([image], SPEC)}),
        lambda: runner.input_array((3,), np.uint8),
    ]

    def fails(call: Any) -> bool:
        with pytest.raises(EngineError, match=r"best.engine was loaded before this process was forked"):
            call()
        return True

    def all_fail() -> bool:
        monkeypatch.setattr(gpu, "view", None)
        monkeypatch.setattr(runner._cuda, "is_pinned", None)
        found = [fails(call) for call in calls]
        model.close()
        return all(found)

    assert model._pipeline._thread is not None
    assert succeeds_in_fork(all_fail, [runner._pool._lock, model._pipeline._thread._lock])
    np.testing.assert_array_equal(model(image)[0].arrays["same"], values([image], SPEC)[0])  # type: ignore[union-attr]


def test_an_engine_that_is_loaded_in_a_forked_process_says_so(make_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench()
    failed = fake_gpu.Code.cudaErrorInitializationError, 0
    monkeypatch.setattr(sys.modules["cuda.bindings.runtime"], "cudaGetDeviceCount", lambda: failed)
    with pytest.raises(EngineError) as error:
        bench.open()
    assert "spawn" in str(error.value.hint)


def test_cuda_is_asked_about_memory_once_in_a_while(opened: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that was page-locked after its first use is found after some calls."""
    cuda, asked = opened[1]._cuda, []
    locked, ordinary = (
        SimpleNamespace(type=kind, device=0)
        for kind in (cuda.api.cudaMemoryType.cudaMemoryTypeHost, cuda.api.cudaMemoryType.cudaMemoryTypeUnregistered)
    )
    answer = [ordinary]
    monkeypatch.setattr(
        cuda.api, "cudaPointerGetAttributes", lambda address: (asked.append(address), (0, answer[0]))[1]
    )
    assert not any(cuda.is_pinned(4096) for _ in range(60))
    assert len(asked) == 1
    answer[0] = locked
    assert any(cuda.is_pinned(4096) for _ in range(64))
    assert all(cuda.is_pinned(4096) for _ in range(64))
    answer[0] = ordinary
    assert not cuda.is_pinned(4096)


@pytest.mark.parametrize("join", [1, 4])
def test_an_image_on_the_device_is_asked_for_its_stream_in_the_thread_of_its_call(
    opened: tuple[Any, Any], on_device: Any, monkeypatch: pytest.MonkeyPatch, join: int
) -> None:
    """The current stream of other libraries is one of the thread; their work has to come first."""
    monkeypatch.setattr(batches, "_SEPARATE", 0)
    gpu, runner = opened
    model = Model(runner, SPEC, Path("best.engine"), join_calls=join)
    wrong: list[int] = []

    class Own(on_device):  # type: ignore[misc, valid-type]
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            if threading.get_ident() != self.thread:
                wrong.append(self.thread)
            return super().__cuda_array_interface__  # type: ignore[no-any-return]

    def call(seed: int) -> bool:
        stream, image = gpu.cudaStreamCreateWithFlags(1)[1], pixels(seed, SIZES[seed % 3])
        given = Own(gpu, np.zeros_like(image), stream)
        given.thread = threading.get_ident()
        given.values = image
        given.fill(image)  # in its stream, and not yet done
        return np.array_equal(model(given)[0].arrays["same"], values([image], SPEC)[0])  # type: ignore[union-attr]

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(40)))
    assert not wrong


def test_arrays_of_another_engine_are_known_to_be_page_locked(
    make_image_bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask CUDA takes longer than to look, and a model may get arrays that were made for another one."""
    bench = make_image_bench()
    first, second = bench.open(), bench.open()
    array = first.input_array((96, 144, 3), "uint8")
    array[...] = pixels(0, (96, 144))
    run(second, SPEC, [array])
    monkeypatch.setattr(second._cuda, "is_pinned", None)
    np.testing.assert_array_equal(run(second, SPEC, [array]), values([array], SPEC))
    address = array.__array_interface__["data"][0]
    assert second._pinned.has_input(address)
    del array
    assert not second._pinned.has_input(address)
