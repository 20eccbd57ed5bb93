"""Batch invariance: what depends on its neighbors is found, what does not is left in peace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from adaptrt.pipeline.verification.samples import (
    Sample,
    batch_axis,
    batch_shapes,
    batch_sizes,
    numbered,
    odd_size,
    sample_shapes,
    trace_shapes,
)
from adaptrt.pipeline.verification.verify import check_batch_invariance
from adaptrt.specs import Dim, ImageTransform, InputSpec, ModelSpec, OutputSpec, parse_shape
from adaptrt.verify.batch_invariance import (
    Rows,
    batched_inputs,
    check_batches,
    check_other_items,
    outputs_without_batch,
    stack,
)

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]


def spec_of(*shapes: str, outputs: tuple[str, ...] = ("y",)) -> ModelSpec:
    inputs = tuple(InputSpec(name, (parse_shape(shape),)) for name, shape in zip("xzw", shapes, strict=False))
    return ModelSpec(inputs, outputs=tuple(OutputSpec(name) for name in outputs))


def samples(count: int, *shape: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(count)]


def invariant(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": np.tanh(inputs["x"]) * 3}


def leaky(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": inputs["x"] + 0.01 * inputs["x"].mean(0, keepdims=True)}


def frozen(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": np.repeat(inputs["x"][:1], len(inputs["x"]), 0)}


def shuffled(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": inputs["x"][::-1]}


def summed(inputs: Arrays) -> dict[str, np.ndarray]:
    return {"y": inputs["x"].sum(0)}


def constant(inputs: Arrays) -> dict[str, np.ndarray]:
    """An output that has no batch, and as many rows as one of the batches has."""
    return {"y": np.arange(3, dtype=np.float32)}


def causal(inputs: Arrays) -> dict[str, np.ndarray]:
    """Each row sees those before it; the first sees none."""
    return {"y": np.cumsum(inputs["x"], 0)}


def pairs(inputs: Arrays) -> dict[str, np.ndarray]:
    """A graph that was traced at batch 2 and kept the number."""
    return {"y": inputs["x"][:2]}


def rounded(inputs: Arrays) -> dict[str, np.ndarray]:
    """Sums in another order, as kernels do for other batches."""
    noise = np.float32(1e-7) * len(inputs["x"])
    return {"y": inputs["x"] * (1 + noise)}


@pytest.mark.parametrize(
    ("run", "passes"),
    [(invariant, True), (rounded, True), (leaky, False), (frozen, False), (shuffled, False), (summed, False)],
)
def test_batches(run: Run, passes: bool) -> None:
    inputs = samples(3, 1, 5)
    (check,), _ = check_batches(run, [Rows(inputs, [run(one) for one in inputs], [2, 3, 4])], spec_of("B:1..4x5"))
    assert check.passed is passes
    assert check.title == "y in a batch"
    assert check.samples == 9
    assert check.reason


@pytest.mark.parametrize("run", [constant, pairs])
def test_an_output_without_a_batch(run: Run) -> None:
    inputs = samples(3, 1, 3)
    spec = replace(spec_of("B:1..4x3"), outputs=(OutputSpec("y", (3,)),))
    (check,), _ = check_batches(run, [Rows(inputs, [run(one) for one in inputs], [2, 3, 4])], spec)
    assert check.passed is (run is constant)


@pytest.mark.parametrize(
    ("run", "passes"), [(invariant, True), (leaky, False), (frozen, False), (shuffled, False), (causal, False)]
)
def test_other_items_in_the_batch_of_a_fixed_batch(run: Run, passes: bool) -> None:
    """The first and the last row must not change with the rows beside them."""
    checks, _ = check_other_items(run, samples(2, 4, 5), spec_of("4x5"))
    assert [check.passed for check in checks] == [passes]


def test_inputs_without_a_batch_are_shared() -> None:
    spec = spec_of("B:1..4x5", "7", "B:1..4x2")
    assert batched_inputs(spec) == ["x", "w"]
    one = {"x": np.ones((1, 5)), "z": np.arange(7), "w": np.ones((1, 2))}
    two = {"x": np.zeros((1, 5)), "z": np.arange(7), "w": np.zeros((1, 2))}
    batch = stack([one, two], batched_inputs(spec))
    assert {name: array.shape for name, array in batch.items()} == {"x": (2, 5), "z": (7,), "w": (2, 2)}


def invariance(
    spec: ModelSpec, run: Run, inputs: list[dict[str, np.ndarray]], effort: str = "full"
) -> tuple[list[bool], str]:
    checks, note = check_batch_invariance(
        run, [Sample(one) for one in inputs], [run(one) for one in inputs], spec, effort
    )
    return [check.passed for check in checks], note


def found(inputs: Arrays) -> dict[str, np.ndarray]:
    """One output of each sample, and the places of all that is positive, of which there may be any number."""
    return {"y": inputs["x"] * 2, "places": np.argwhere(inputs["x"] > 0)}


def test_outputs_without_a_batch_are_left_to_the_comparison_of_whole_batches() -> None:
    spec = spec_of("B:1..4x5", outputs=("y", "places"))
    inputs = samples(2, 1, 5)
    references = [found(one) for one in inputs]
    assert outputs_without_batch(inputs, references, spec) == ["places"]
    reference = [Sample(one, given) for one, given in zip(inputs, references, strict=True)]
    checks, note = check_batch_invariance(found, reference, references, spec, "full")
    assert [(check.title, check.passed) for check in checks] == [("y in a batch", True)]
    assert note == "batches 2, 3, 4; places: no batch axis, compared as a whole"
    alone = [Sample(one, constant(one)) for one in inputs]
    checks, note = check_batch_invariance(
        constant, alone, [constant(one) for one in inputs], spec_of("B:1..4x5"), "full"
    )
    assert (checks, note) == ([], "y: no batch axis, compared as a whole")


def oblong(inputs: Arrays) -> dict[str, np.ndarray]:
    """Rows are joined in another order of the axes, which shows only in a batch whose other axes differ."""
    array = inputs["x"]
    batch, height, width = array.shape
    if height == width:
        return {"y": array * 2}
    return {"y": array.reshape(batch, -1).reshape(-1, batch).T.reshape(array.shape) * 2}


def crowded(inputs: Arrays) -> dict[str, np.ndarray]:
    """Wrong beyond a number of elements, as with an index in too few bits."""
    array = inputs["x"].copy()
    array.reshape(-1)[100:] = 0
    return {"y": array}


@pytest.mark.parametrize(("run", "passes"), [(invariant, True), (oblong, False), (crowded, False)])
def test_batches_at_other_shapes(run: Run, passes: bool) -> None:
    spec = spec_of("B:1..4xH:4..8@5xW:4..8@5")
    rng = np.random.default_rng(0)
    inputs = [
        {"x": rng.standard_normal(shapes["x"]).astype(np.float32)}
        for _, shapes in numbered(spec, sample_shapes(spec), 4)
    ]
    assert [one["x"].shape[1:] for one in inputs[4:]] == [(4, 4), (8, 8), (8, 4), (8, 4)]
    held, note = invariance(spec, run, inputs)
    assert held == [passes]
    assert note == "batches 2, 3, 4; at 3 other shapes"
    assert invariance(spec, run, inputs, "quick") == ([True], "batch 2")


def test_batches_fit_the_profiles_of_their_shapes() -> None:
    inputs = InputSpec("x", (parse_shape("B:1..8x4..6@5"), parse_shape("B:1..2x7..9@8")))
    spec = ModelSpec((inputs,), outputs=(OutputSpec("y"),))
    seen = []

    def run(given: Arrays) -> dict[str, np.ndarray]:
        seen.append(given["x"].shape)
        return invariant(given)

    arrays = [{"x": np.ones(shapes["x"], np.float32)} for _, shapes in numbered(spec, sample_shapes(spec), 4)]
    invariance(spec, run, arrays)
    assert {shape[0] for shape in seen if shape[1] > 6} == {1, 2}
    assert {shape[0] for shape in seen if shape[1] < 7} >= {1, 2, 3, 8}


@pytest.mark.parametrize("profiles", [("1..16x4", "4..8x8", "1x8"), ("1..16x4", "1..2x8", "2x8")])
def test_profiles_of_one_size_and_different_batches(profiles: tuple[str, ...]) -> None:
    inputs = InputSpec("x", tuple(parse_shape(f"B:{shape}") for shape in profiles))
    spec = ModelSpec((inputs,), outputs=(OutputSpec("y"),))
    rng = np.random.default_rng(0)
    arrays = [
        {"x": rng.standard_normal(shapes["x"]).astype(np.float32)}
        for _, shapes in numbered(spec, sample_shapes(spec), 4)
    ]
    assert len({one["x"].shape for one in arrays}) == 3
    held, _ = invariance(spec, invariant, arrays)
    assert held == [True]


def test_the_whole_batch_that_is_compared() -> None:
    spec = spec_of("B:1..8@4xN:2..6@3x5", "B:1..8@4", "N:2..6@3")
    assert batch_shapes(spec) == {"x": (4, 3, 5), "z": (4,), "w": (3,)}
    assert batch_shapes(spec_of("B:1..8@1x5")) == {"x": (2, 5)}


def test_how_much_is_tried() -> None:
    spec = spec_of("B:1..8@4x5")
    assert invariance(spec, invariant, samples(2, 1, 5)) == ([True], "batches 2, 3, 4, 8")
    assert invariance(spec, leaky, samples(2, 1, 5)) == ([False], "batches 2, 3, 4, 8")
    assert invariance(spec, invariant, samples(2, 1, 5), "quick") == ([True], "batch 2")
    assert invariance(spec_of("1x5"), invariant, samples(2, 1, 5)) == (
        [],
        "batch invariance does not apply: the batch is fixed at 1",
    )
    assert invariance(spec_of("4x5"), leaky, samples(2, 4, 5)) == ([False], "batch 4 with other batch items")
    assert invariance(spec_of("B:2..8x5"), leaky, samples(2, 2, 5)) == ([False], "batches 3, 4, 8")
    assert invariance(spec_of("B:2..8x5"), invariant, samples(2, 2, 5)) == ([True], "batches 3, 4, 8")
    assert invariance(spec_of("B:2..8x5"), pairs, samples(2, 2, 5), "quick") == ([False], "batch 3")
    assert invariance(spec_of("4x5"), invariant, samples(1, 4, 5)) == (
        [],
        "batch invariance was not checked: it requires at least two samples",
    )


def test_large_batches_are_left_out_when_they_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    from adaptrt.pipeline.verification import verify as verification

    monkeypatch.setattr(verification, "BATCH_BUDGET", 0.0)
    passed, note = invariance(spec_of("B:1..8@4x5"), invariant, samples(2, 1, 5))
    assert passed == [True]
    assert note == "batch 2; batches 3, 4, 8 skipped: time budget of 0 s exceeded"


def test_shapes_of_samples() -> None:
    spec = ModelSpec((InputSpec("images", (parse_shape("batch:1..16@8x3x32..64x32..64@48"),)),), image=ImageTransform())
    assert sample_shapes(spec) == [
        {"images": (1, 3, 64, 48)},
        {"images": (1, 3, 32, 32)},
        {"images": (1, 3, 64, 64)},
        {"images": (1, 3, 64, 32)},  # square images do not tell height from width
        {"images": (1, 3, 47, 41)},
    ]
    assert trace_shapes(spec) == {"images": (2, 3, 64, 48)}
    assert batch_sizes(spec) == [2, 3, 8, 16]
    assert [seed for seed, _ in numbered(spec, sample_shapes(spec), 4)] == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_axes_of_one_name_keep_one_size() -> None:
    spec = spec_of("B:1..2xN:4..8x3..5", "B:1..2xN:4..8")
    *_, mixed, odd = sample_shapes(spec)
    assert mixed == {"x": (1, 8, 3), "z": (1, 8)}
    assert odd["x"][1] == odd["z"][1] == 5
    assert odd["x"][2] in (3, 5)


@pytest.mark.parametrize(
    ("dim", "stride", "sizes"),
    [
        (Dim(4, 8, 64), 1, {5, 7, 11, 13, 17, 19, 23, 29, 31}),
        (Dim(320, 640, 960), 32, {11 * 32, 13 * 32, 17 * 32, 19 * 32}),
        (Dim(8, 8, 10), 1, {9}),  # odd, where no prime lies within
        (Dim(64, 64, 96), 32, {96}),
        (Dim(8, 8, 8), 1, {8}),
    ],
)
def test_odd_sizes_lie_within_the_axis(dim: Dim, stride: int, sizes: set[int]) -> None:
    assert {odd_size(dim, stride, str(key)) for key in range(40)} <= sizes


def test_axes_that_an_image_shares_keep_its_stride() -> None:
    sides = [Dim(64, 96, 320, "height"), Dim(64, 96, 320, "width")]
    image = InputSpec("images", ((Dim.fixed(1), Dim.fixed(3), *sides),))
    mask = InputSpec("mask", ((Dim.fixed(1), *sides),))
    odd = sample_shapes(ModelSpec((image, mask), image=ImageTransform(stride=32)))[-1]
    assert odd["images"][2:] == odd["mask"][1:]
    assert all(size % 32 == 0 for size in odd["mask"][1:])


@pytest.mark.parametrize(
    ("shape", "trace", "sizes"),
    [
        ("1x3", (1, 3), []),
        ("4x3", (4, 3), []),
        ("B:1..2x3", (2, 3), [2]),
        ("B:4..8x3", (4, 3), [5, 6, 8]),
        ("B:1..1x3", (1, 3), []),
    ],
)
def test_batches_of_specs(shape: str, trace: tuple[int, ...], sizes: list[int]) -> None:
    spec = spec_of(shape)
    assert trace_shapes(spec) == {"x": trace}
    assert batch_sizes(spec) == sizes


def test_several_profiles_are_all_sampled() -> None:
    tensor = InputSpec("x", (parse_shape("1x8"), parse_shape("2..4x16..32@16")))
    spec = ModelSpec((tensor, InputSpec("z", (parse_shape("5"),))))
    assert sample_shapes(spec) == [
        {"x": (2, 16), "z": (5,)},
        {"x": (2, 32), "z": (5,)},
        {"x": (2, 23), "z": (5,)},
        {"x": (1, 8), "z": (5,)},
    ]
    assert trace_shapes(spec) == {"x": (2, 8), "z": (5,)}
    assert batch_sizes(spec) == [3, 4]


def test_models_without_inputs_or_axes() -> None:
    assert batch_sizes(ModelSpec(())) == []
    assert not batch_axis(ModelSpec((InputSpec("x", ((),)),))).dynamic
