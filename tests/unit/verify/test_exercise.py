"""How far outputs vary over the samples, in multiples of what is accepted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from adaptrt.pipeline.verification.sample_run import exercise_of
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.report import Report
from adaptrt.specs import DecoderSpec, Dim, InputSpec, ModelSpec, OutputSpec
from adaptrt.specs.precisions import FP32, precision_named
from adaptrt.verify.exercise import variation

SPEC = ModelSpec((InputSpec.image(8, 8),), outputs=(OutputSpec("x"),))


def ratio(*arrays: np.ndarray) -> float:
    return variation([{"x": array} for array in arrays], SPEC, FP32)["x"]


def test_a_constant_does_not_vary_and_noise_does() -> None:
    rng = np.random.default_rng(0)
    same = rng.standard_normal((1, 8)).astype(np.float32)
    assert ratio(same, same, same) == 0
    assert ratio(same, same + 1e-5) < 1
    assert ratio(*(rng.standard_normal((1, 8)) for _ in range(4))) > 1000
    assert ratio(np.concatenate([same, -same])) > 1000, "rows of one batch are samples too"


def test_constant_scores_beside_moving_boxes() -> None:
    rng = np.random.default_rng(0)
    boxes = [rng.random((1, 4, 50)) * 600 for _ in range(3)]
    moving = [rng.random((1, 2, 50)) for _ in range(3)]
    assert ratio(*(np.concatenate([box, np.full((1, 2, 50), 0.25)], 1) for box in boxes)) == 0
    assert ratio(*(np.concatenate(pair, 1) for pair in zip(boxes, moving, strict=True))) > 1000


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_an_output_without_rows_varies_among_samples_only(dtype: Any) -> None:
    batch = ModelSpec((InputSpec("i", ((Dim(1, 2, 4, "batch"), Dim.fixed(3)),)),), outputs=(OutputSpec("x"),))
    inputs = {"i": np.zeros((1, 3), np.float32)}

    def ratio_of(*arrays: Any) -> float:
        samples = [Sample(inputs, {"x": np.array(array, dtype)}) for array in arrays]
        return exercise_of(samples, batch)[0].ratio

    assert ratio_of([1, 5, 2], [1, 5, 2]) == 0
    assert ratio_of([1, 5, 2], [1, 5, 3]) > 1000
    assert ratio_of([1, 5, 2], [1, 5]) > 1000, "as many numbers as the values decide"


def test_whole_numbers_survive_json() -> None:
    samples = [Sample({}, {"x": np.array([[number]])}) for number in range(3)]
    report = Report("a", "b", "c", exercise=exercise_of(samples, SPEC))
    assert report.exercise[0].ratio > 1000
    assert json.loads(report.to_json())["exercise"][0]["ratio"] is not None
    assert Report.from_json(report.to_json()).exercise == report.exercise


def test_whether_nms_converged_is_no_result() -> None:
    names = ("num_dets", "det_boxes", "nms_converged")
    spec = ModelSpec(
        (InputSpec.image(8, 8),), tuple(map(OutputSpec, names)), "detect", decoder=DecoderSpec("efficient_nms")
    )
    samples = [Sample({}, {name: np.array([[1]]) for name in names}) for _ in range(3)]
    assert [one.name for one in exercise_of(samples, spec)] == ["num_dets", "det_boxes"]


def test_a_reduced_precision_has_its_own_limit() -> None:
    samples = [Sample({}, {"x": np.array([[number]])}) for number in (9.9, 10.1)]
    (found,) = exercise_of(samples, SPEC, precision_named("fp16"))
    assert found.ratio > 100
    assert found.reduced is not None
    assert found.reduced < 2
    assert exercise_of(samples, SPEC, FP32)[0].reduced is None
