"""Only the boxes above a score leave the device: which they are, and what a decoder makes of them."""

from __future__ import annotations

import ctypes
from typing import Any

import fake_gpu
import host_kernels
import numpy as np
import pytest

from adaptrt import DecoderSpec, Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec
from adaptrt.backends.tensorrt.runtime.boxes import filters
from adaptrt.errors import ModelError, PluginError
from adaptrt.pipeline import batches
from adaptrt.pipeline.batches import BatchPipeline
from adaptrt.pipeline.processing import Processing
from adaptrt.specs.layouts import BoxFilter, BoxLayout, Part
from adaptrt.vision.decoders.ranked import ranked_detections
from adaptrt.vision.transforms import transform_batch


@pytest.fixture
def tensorrt_version() -> str:
    return "10.16.1"  # boxes do not depend on the generation


def spec_of() -> ModelSpec:
    shape = (Dim(1, 2, 8, "batch"), Dim.fixed(3), Dim.fixed(32), Dim.fixed(48))
    return ModelSpec(inputs=(InputSpec("images", (shape,), "float32"),), image=ImageTransform())


def pixels() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in [(50, 90), (64, 32)]]


LAYOUTS = {
    "yolo": (BoxLayout(Part("raw", 0, 4, True), Part("raw", 4, None, True), centers=True), {"raw": (2, 9, 4000)}),
    "anchor": (BoxLayout(Part("raw", 0, 4), Part("raw", 5), Part("raw", 4, 5)), {"raw": (2, 4000, 10)}),
    "masks": (
        BoxLayout(Part("raw", 0, 4, True), Part("raw", 4, 7, True), centers=True, kept=("masks",)),
        {"raw": (2, 9, 4000), "masks": (2, 2, 30, 40)},
    ),
    "two outputs": (BoxLayout(Part("boxes"), Part("scores")), {"boxes": (2, 4000, 4), "scores": (2, 4000, 3)}),
}


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float32") for name in LAYOUTS), ("yolo", "float16"), ("masks", "float16")]
)
def test_only_boxes_above_the_score_are_copied(
    make_bench: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    """Those in half precision become float32 on the device."""
    layout, shapes = LAYOUTS[name]
    rng = np.random.default_rng(0)
    values = {key: rng.random(shape, np.float32).astype(dtype) for key, shape in shapes.items()}
    tail = (3, 32, 48)
    outputs = [
        fake_gpu.Tensor(
            key,
            dtype,
            shape=lambda x, key=key: (x[0], *shapes[key][1:]),
            compute=lambda x, key=key: values[key][: len(x)],
        )
        for key in shapes
    ]
    plan = fake_gpu.Plan([fake_gpu.Tensor("images", "float32", [((1, *tail), (2, *tail), (8, *tail))])], outputs)
    # more than a graph copies
    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.image_runs._SMALL", 1)
    bench = make_bench(plan)
    launched = host_kernels.install(monkeypatch, bench.gpu)
    runner, spec = bench.open(), spec_of()
    for conf in (0.97, 0.5, 1.0):
        batch = runner.image_batch(spec, 2)
        for index, image in enumerate(pixels()[:2]):
            batch.write(index, image)
        batch.fill(2)
        found = runner.start_images(batch, BoxFilter(layout, conf)).result()
        assert list(found) == list(shapes)
        assert all(found[part.output].dtype == np.float32 for part in layout.parts)
        for image in range(2):
            wanted = boxes_above(values, layout, conf, image)
            for kept in layout.kept:
                np.testing.assert_array_equal(found[kept], values[kept])
            for part in layout.parts:
                rows, whole = (
                    array[part.output][image].T if part.channels_first else array[part.output][image]
                    for array in (found, values)
                )
                np.testing.assert_array_equal(rows[: len(wanted)], whole[wanted])
                assert not rows[len(wanted) :].any()
    assert {"mark", "list", "gather"} <= set(launched)
    assert ("widen" in launched) == (dtype == "float16")


def test_every_half_is_the_same_in_float32() -> None:
    halves = np.arange(1 << 16, dtype=np.uint16)
    found = np.full(1 << 16, 7, np.float32)
    host_kernels.library().widen(
        ctypes.c_void_p(halves.ctypes.data), ctypes.c_void_p(found.ctypes.data), ctypes.c_longlong(1 << 16)
    )
    wanted = halves.view(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        pytest.param("yolo", "float32", marks=pytest.mark.full),
        ("yolo_anchor", "float32"),
        pytest.param("yolo", "float16", marks=pytest.mark.full),
        ("yolo_anchor", "float16"),
    ],
)
def test_boxes_that_a_better_one_overlaps_stay_on_the_device(
    make_image_bench: Any, monkeypatch: pytest.MonkeyPatch, name: str, dtype: str
) -> None:
    """The predictions are those of whole outputs, bit for bit; with more boxes than the kernel compares, the CPU does it."""
    rng, classes = np.random.default_rng(3), 3
    images = [*pixels(), pixels()[0]]
    boxes, current = 1200, {}
    axes = (7, boxes) if name == "yolo" else (boxes, 8)
    output = fake_gpu.Tensor("raw", dtype, shape=lambda x: (x[0], *axes), compute=lambda x: current["raw"][: len(x)])
    bench = make_image_bench(output)
    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.image_runs._SMALL", 1)
    runner, found, ranked = bench.open(), 0, []
    monkeypatch.setattr(batches, "ranked_detections", lambda *given: ranked.append(1) or ranked_detections(*given))
    for case in range(10):
        places = rng.random((3, boxes, 2), np.float32) * np.float32(rng.choice([30, 100, 600]))
        corners = np.concatenate([places, rng.random((3, boxes, 2), np.float32) * 60], axis=2)
        scores = np.round(rng.random((3, boxes, classes)) * 8).astype(np.float32) / np.float32(8)  # many are equal
        kept = (rng.random((3, boxes, 1)) < rng.choice([0.01, 0.1, 0.5])).astype(np.float32) * np.float32(0.9)
        if case % 5 == 4:
            corners[0, :50, 2] = np.nan
            scores[0, 25:75, 1] = np.nan
        raw = [corners, scores * kept] if name == "yolo" else [corners, kept, scores]
        current["raw"] = np.concatenate(raw, axis=2)
        if name == "yolo":
            current["raw"] = np.ascontiguousarray(current["raw"].transpose(0, 2, 1))
        current["raw"] = current["raw"].astype(dtype)
        params = {
            "conf": float(rng.choice([0.05, 0.25])),
            "iou": float(rng.choice([0.0, 0.3, 0.7])),
            "agnostic": case % 4 == 3,
            "max_det": int(rng.choice([4, 300])),
        }
        spec = spec_with(DecoderSpec(name, params), ("batch", *axes))
        processing = Processing(spec)
        for given in (images, images[:1]):
            (result,) = BatchPipeline(runner, processing).results([given], spec)
            metas = transform_batch(given, spec)[1]
            whole = {"raw": current["raw"][: len(given)]}
            for one, other in zip(result.predictions, processing.postprocess(whole, metas, spec), strict=True):
                for column in ("boxes", "scores", "labels"):
                    np.testing.assert_array_equal(getattr(one, column), getattr(other, column), strict=True)
                    assert getattr(one, column).flags.c_contiguous
                found += len(one)
    assert found > 300
    assert "suppress" in bench.launched
    assert 5 < len(ranked) < 20, "some images have too many boxes, others not"


@pytest.mark.parametrize(
    ("channels", "images", "changes", "error"),
    [
        (7, None, {"labels": ("a", "b")}, r"It has 3 classes, but the spec has 2 labels"),
        (8, None, {}, r"expects \[B, 7, N\]; output 'raw' is"),
        (7, 1, {}, r"does not have 2 images"),
        (7, None, {"task": "segment"}, r"must return 2 predictions"),
    ],
    ids=["labels", "channels", "images", "task"],
)
def test_outputs_that_the_decoder_does_not_read_are_an_error(
    make_image_bench: Any,
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    images: int | None,
    changes: dict[str, Any],
    error: str,
) -> None:
    """Also where boxes would leave the device instead of outputs."""
    raw = np.random.default_rng(0).random((8, channels, 4000), np.float32)
    raw[:, 4:, 20:] = 0  # few enough to be ranked
    output = fake_gpu.Tensor(
        "raw",
        "float32",
        shape=lambda x: (images or x[0], channels, 4000),
        compute=lambda x: raw[: images or len(x)],
    )
    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.image_runs._SMALL", 1)
    model, runner = spec_with(DecoderSpec("yolo"), ("batch", 7, 4000), **changes), make_image_bench(output).open()
    with pytest.raises((ModelError, PluginError), match=error):
        list(BatchPipeline(runner, Processing(model)).results([pixels()], model))


def test_a_box_needs_an_objectness_above_the_score(make_image_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the decoder does it, also where a class score is a little above 1."""
    raw = np.zeros((8, 4000, 8), np.float32)
    raw[:, 7] = 20, 20, 10, 10, 0.25, np.nextafter(np.float32(1), np.float32(2)), 0, 0
    raw[:, 9] = 90, 90, 10, 10, 0.26, 1, 0, 0
    output = fake_gpu.Tensor("raw", "float32", shape=lambda x: (x[0], 4000, 8), compute=lambda x: raw[: len(x)])
    monkeypatch.setattr("adaptrt.backends.tensorrt.runtime.image_runs._SMALL", 1)
    model, runner = spec_with(DecoderSpec("yolo_anchor"), ("batch", 4000, 8)), make_image_bench(output).open()
    processing = Processing(model)
    (result,) = BatchPipeline(runner, processing).results([pixels()[:1]], model)
    expected = processing.postprocess({"raw": raw[:1]}, transform_batch(pixels()[:1], model)[1], model)
    assert [len(one) for one in result.predictions] == [len(one) for one in expected] == [1]


def spec_with(decoder: DecoderSpec, dims: tuple[Any, ...], **changes: Any) -> ModelSpec:
    given = {"labels": ("a", "b", "c"), "task": "detect", **changes}
    return ModelSpec(
        inputs=spec_of().inputs,
        outputs=(OutputSpec("raw", dims),),
        image=ImageTransform(),
        decoder=decoder,
        **given,
    )


def boxes_above(values: dict[str, Any], layout: BoxLayout, conf: float, image: int) -> Any:
    def part(one: Part) -> Any:
        array = values[one.output][image].T if one.channels_first else values[one.output][image]
        return array[:, one.start : one.stop]

    scores = part(layout.scores)
    if layout.objectness is not None:
        scores = scores * part(layout.objectness)
    return np.flatnonzero((scores > np.float32(conf) * (1 - 2.0**-20)).any(1))


def test_a_filter_needs_outputs_of_boxes_only() -> None:
    boxes = BoxFilter(LAYOUTS["yolo"][0], 0.5)
    single = {"raw": np.dtype(np.float32), "masks": np.dtype(np.float32)}
    assert filters(boxes, {"raw": (2, 9, 4000)}, single)
    assert not filters(boxes, {"raw": (2, 9, 4000), "masks": (2, 32, 80)}, single)
    masks = BoxFilter(LAYOUTS["masks"][0], 0.5)
    assert filters(masks, {"raw": (2, 9, 4000), "masks": (2, 32, 80, 80)}, {**single, "masks": np.dtype(np.float16)})
    assert not filters(masks, {"raw": (2, 9, 4000)}, single)
    assert filters(boxes, {"raw": (2, 9, 4000)}, {"raw": np.dtype(np.float16)})
    assert not filters(boxes, {"raw": (2, 9, 4000)}, {"raw": np.dtype(np.int32)})
    assert not filters(boxes, {"raw": (1, 9, 10)}, single)
