"""Images prepared by the kernels on a GPU: bit for bit the values of the CPU, from any memory, also in graphs and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec
from adaptrt.backends.tensorrt.runtime import compiled
from adaptrt.backends.tensorrt.runtime.boxes import BoxRows, limits_of
from adaptrt.errors import DependencyError
from adaptrt.pipeline.box_filter import box_filter
from adaptrt.pipeline.processing import Processing
from adaptrt.specs.layouts import BoxFilter, BoxLayout, Part
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.decoders.ranked import ranked_detections
from adaptrt.vision.placement import place
from adaptrt.vision.transforms import transform_batch

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZES = [(720, 1280), (1080, 1920), (33, 50), (512, 512), (97, 13), (256, 256)]


@pytest.fixture(autouse=True, scope="module")
def nvrtc():
    try:
        compiled._nvrtc()
    except DependencyError as error:
        pytest.skip(error.message)


def spec_of(height=256, width=256, **transform):
    shape = (Dim(1, 4, 8, "batch"), Dim.fixed(3), Dim.fixed(height), Dim.fixed(width))
    return ModelSpec(inputs=(InputSpec("images", (shape,)),), image=ImageTransform(**transform))


def pixels(seed=0, sizes=SIZES):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def run(runner, spec, images):
    batch = runner.image_batch(spec, len(images))
    assert batch is not None, runner.warnings
    metas = [batch.take(index, image) or batch.write(index, image) for index, image in enumerate(images)]
    batch.fill(len(images))
    return runner.start_images(batch).result()["output0"], metas


def in_memory(kind, runner, image, on_device):
    if kind == "device":
        return on_device(image)
    if kind == "pinned":
        array = runner.input_array(image.shape, np.uint8)
        array[...] = image
        return array
    return image


@pytest.mark.parametrize("memory", ["host", "pinned", "device"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop", "square"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_values_and_places_are_those_of_the_cpu(open_engine, on_device, memory, resize, interpolation):
    runner = open_engine("portable")
    spec = spec_of(resize=resize, interpolation=interpolation, colors="bgr", **IMAGENET)
    images = pixels()
    expected, metas = transform_batch(images, spec)
    found, places = run(runner, spec, [in_memory(memory, runner, image, on_device) for image in images])
    np.testing.assert_array_equal(found, 2 * expected["images"] + 1)
    assert places == metas
    assert not runner.warnings


def test_random_sizes(open_engine, on_device):
    runner, rng = open_engine("portable"), np.random.default_rng(5)
    for _ in range(25):
        height, width = (int(size) for size in rng.integers(16, 257, 2))
        spec = spec_of(height, width, resize=str(rng.choice(["letterbox", "stretch"])))
        images = pixels(int(rng.integers(1 << 30)), [tuple(map(int, rng.integers(1, 900, 2))) for _ in range(4)])
        expected, _ = transform_batch(images, spec)
        found, _ = run(runner, spec, [on_device(image) for image in images])
        np.testing.assert_array_equal(found, 2 * expected["images"] + 1)


@pytest.mark.parametrize("graphs", [0, 8])
def test_calls_repeat_in_graphs_with_other_images(open_engine, on_device, graphs):
    runner, spec = open_engine("portable", cuda_graphs=graphs), spec_of()
    for seed in range(12):
        images = pixels(seed, SIZES[seed % 3 : seed % 3 + 4])
        expected, _ = transform_batch(images, spec)
        given = [on_device(image) if index % 2 else image for index, image in enumerate(images)]
        np.testing.assert_array_equal(run(runner, spec, given)[0], 2 * expected["images"] + 1)


def test_threads(open_engine):
    runner, spec = open_engine("portable", contexts=3), spec_of()

    def work(seed):
        images = pixels(seed, SIZES[:3])
        expected, _ = transform_batch(images, spec)
        return np.array_equal(run(runner, spec, images)[0], 2 * expected["images"] + 1)

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(work, range(48)))


def test_a_slow_producer_is_waited_for(open_engine, on_device, busy_stream):
    runner, spec = open_engine("portable"), spec_of()
    first, second = pixels(0, SIZES[:2])
    run(runner, spec, [first])
    for _ in range(3):
        stream = busy_stream()
        found, _ = run(runner, spec, [on_device(second, stream)])
        np.testing.assert_array_equal(found, 2 * transform_batch([second], spec)[0]["images"] + 1)


def test_torch_tensors(open_engine):
    torch = pytest.importorskip("torch", reason="needs torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    runner, spec, images = open_engine("portable"), spec_of(), pixels(0, SIZES[:3])
    found, _ = run(runner, spec, [torch.from_numpy(image).cuda() for image in images])
    np.testing.assert_array_equal(found, 2 * transform_batch(images, spec)[0]["images"] + 1)


@pytest.mark.parametrize("channels_first", [False, True])
def test_boxes_above_a_score(open_engine, on_device, channels_first):
    runner = open_engine("portable")
    assert runner.image_batch(spec_of(), 1) is not None
    shape = (4, 9, 3000) if channels_first else (4, 3000, 9)
    values = np.random.default_rng(0).random(shape, np.float32)
    layout = BoxLayout(
        Part("raw", 0, 4, channels_first), Part("raw", 5, None, channels_first), Part("raw", 4, 5, channels_first)
    )
    memory, lane = on_device(values), runner._pool.acquire()
    try:
        stream = lane.stream.handle
        for conf in (0.9, 0.25, 0.999):
            boxes = BoxFilter(layout, conf)
            limits = on_device(np.array(limits_of(boxes), np.float32))
            rows = BoxRows(
                runner._images.kernels, runner._pinned, boxes, {"raw": memory.pointer}, {"raw": shape}, limits.pointer
            )
            rows.launch(stream)
            runner._cuda.synchronize(stream)
            found = rows.read(stream)["raw"]
            for image in range(4):
                whole, kept = (array[image].T if channels_first else array[image] for array in (values, found))
                limit = np.float32(np.float32(conf) * (1 - 2.0**-20))
                wanted = whole[(whole[:, 5:] * whole[:, 4:5] > limit).any(1)]
                np.testing.assert_array_equal(kept[: len(wanted)], wanted)
                assert not kept[len(wanted) :].any()
    finally:
        runner._pool.release(lane)


@pytest.mark.parametrize("name", ["yolo", "yolo_anchor"])
def test_boxes_that_a_better_one_overlaps_stay_on_the_gpu(open_engine, on_device, name):
    """With the decisions of NumPy: the predictions are the same, bit for bit."""
    runner, rng = open_engine("portable"), np.random.default_rng(1)
    assert runner.image_batch(spec_of(), 1) is not None
    lane = runner._pool.acquire()
    try:
        for case in range(40):
            images, boxes, classes = 3, int(rng.choice([40, 700, 3000])), int(rng.integers(1, 5))
            values = crowded(rng, name, images, boxes, classes)
            spec = detector_of(name, values.shape, classes, agnostic=bool(case % 4 == 3))
            keep = box_filter(spec, Processing(spec))
            assert keep.iou is not None
            memory, limits = on_device(values), on_device(np.array(limits_of(keep), np.float32))
            places = {"raw": memory.pointer}
            rows = BoxRows(runner._images.kernels, runner._pinned, keep, places, {"raw": values.shape}, limits.pointer)
            rows.launch(lane.stream.handle)
            runner._cuda.synchronize(lane.stream.handle)
            ranked = rows.ranked()
            metas = [place((64, 64), ImageTransform(), (64, 64)).meta] * images
            expected = decode({"raw": values}, metas, spec)
            assert (ranked is not None) == (max(above(values, name)) <= 512)
            if ranked is None:
                found = decode(rows.read(lane.stream.handle), metas, spec)
            else:
                found = ranked_detections(ranked, metas, keep, spec.labels)
            for one, other in zip(found, expected, strict=True):
                for column in ("boxes", "scores", "labels"):
                    np.testing.assert_array_equal(getattr(one, column), getattr(other, column))
    finally:
        runner._pool.release(lane)


def crowded(rng, name, images, boxes, classes):
    """Outputs with many boxes that overlap, and many equal scores."""
    places = rng.random((images, boxes, 2), np.float32) * np.float32(rng.choice([30, 100, 600]))
    corners = np.concatenate([places, rng.random((images, boxes, 2), np.float32) * 60], axis=2)
    scores = np.round(rng.random((images, boxes, classes)) * 8).astype(np.float32) / np.float32(8)
    factors = (rng.random((images, boxes, 1)) < min(1.0, 150 / boxes * rng.choice([1, 4]))).astype(
        np.float32
    ) * np.float32(0.9)
    if name == "yolo_anchor":
        return np.concatenate([corners, factors, scores], axis=2)
    return np.ascontiguousarray(np.concatenate([corners, scores * factors], axis=2).transpose(0, 2, 1))


def above(values, name):
    scores = values[:, 4:].max(1) if name == "yolo" else (values[..., 5:] * values[..., 4:5]).max(2)
    return (scores > np.float32(0.25) * (1 - 2.0**-20)).sum(1).tolist()


def detector_of(name, shape, classes, **params):
    return ModelSpec(
        inputs=(InputSpec.image(64, 64),),
        outputs=(OutputSpec("raw", ("batch", *shape[1:])),),
        task="detect",
        image=ImageTransform(),
        decoder=DecoderSpec(name, {"conf": 0.25, "iou": 0.45, **params}),
        labels=tuple("abcde"[:classes]),
    )


def test_memory_stays_flat(open_engine, cudart):
    runner, spec, images = open_engine("portable"), spec_of(), pixels(0, SIZES[:4])
    for _ in range(50):
        run(runner, spec, images)
    before = cudart.cudaMemGetInfo()[1]
    for _ in range(1000):
        run(runner, spec, images)
    assert cudart.cudaMemGetInfo()[1] >= before - (1 << 20)
