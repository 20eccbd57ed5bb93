"""A graph that holds a size of the example inputs as a constant: the hint names the axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from adaptrt import InputSpec, ModelSpec, OutputSpec, VerificationError
from adaptrt.errors import ModelError
from adaptrt.pipeline.verification.frozen_sizes import frozen_sizes, hint_of, moved_sizes, naming_frozen_sizes
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.specs import parse_shape

SPEC = ModelSpec((InputSpec("x", (parse_shape("B:1..4xN:3..9@5x6"),)),), outputs=(OutputSpec("y"),))  # traced at 2x5x6
Arrays = Mapping[str, Any]


def any_size(inputs: Arrays) -> dict[str, Any]:
    return {"y": inputs["x"] * 2}


def batch_of_two(inputs: Arrays) -> dict[str, Any]:
    return {"y": inputs["x"].reshape(2, -1, 6)[:, : inputs["x"].shape[1]]} if len(inputs["x"]) == 2 else fail(inputs)


def five_long(inputs: Arrays) -> dict[str, Any]:
    return {"y": inputs["x"].reshape(-1, 5, 6)} if inputs["x"].shape[1] == 5 else fail(inputs)


def both(inputs: Arrays) -> dict[str, Any]:
    return {"y": inputs["x"].reshape(2, 5, 6)}


def fail(_: Arrays) -> dict[str, Any]:
    raise ModelError("ONNX Runtime failed")


@pytest.mark.parametrize(
    ("run", "shape", "frozen"),
    [
        (batch_of_two, (1, 5, 6), {"B": 2}),
        (batch_of_two, (1, 7, 6), {"B": 2}),
        (five_long, (1, 7, 6), {"N": 5}),
        (both, (1, 7, 6), {"B": 2, "N": 5}),
        (fail, (1, 7, 6), {}),  # it does not run at all
        (fail, (2, 5, 6), {}),
    ],
)
def test_the_axis_is_found(run: Any, shape: tuple[int, ...], frozen: dict[str, int]) -> None:
    inputs = {"x": np.ones(shape, np.float32)}
    assert frozen_sizes(run, inputs, SPEC) == frozen
    with pytest.raises((VerificationError, ModelError, ValueError)) as caught:
        naming_frozen_sizes(run, SPEC)(inputs)
    assert isinstance(caught.value, VerificationError) is bool(frozen)
    if frozen:
        assert caught.value.hint == hint_of(frozen)
        assert all(f"{name} = {size}" in hint_of(frozen) for name, size in frozen.items())


def test_nothing_is_said_of_a_graph_that_runs() -> None:
    inputs = {"x": np.ones((1, 7, 6), np.float32)}
    assert np.array_equal(naming_frozen_sizes(any_size, SPEC)(inputs)["y"], inputs["x"] * 2)


def test_outputs_of_another_shape_name_the_axes_that_differ() -> None:
    samples = [Sample({"x": np.ones(shape, np.float32)}, {"y": np.ones(shape)}) for shape in ((2, 5, 6), (1, 5, 6))]
    frozen = [{"y": np.ones((2, 5, 6))}] * 2
    assert moved_sizes(samples, frozen, SPEC) == {"B": 2}
    assert moved_sizes(samples, [sample.reference for sample in samples], SPEC) == {}
