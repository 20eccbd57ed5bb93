"""Graphs that end in NMS: samples in which the reference itself finds something else after one rounding error prove nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, InputSpec, ModelSpec, OutputSpec, VerificationError
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.selected import check_selected
from adaptrt.pipeline.verification.verify import Verification
from adaptrt.report import Check, Link
from adaptrt.specs import precision_named

NAMES = ("num_dets", "det_boxes", "det_scores", "det_classes")
SHAPES = ((1, 1), (1, 4, 4), (1, 4), (1, 4))
SPEC = ModelSpec(
    (InputSpec.image(4, 4),),
    tuple(
        OutputSpec(name, shape, "int32" if index in (0, 3) else "float32")
        for index, (name, shape) in enumerate(zip(NAMES, SHAPES, strict=True))
    ),
    task="detect",
    decoder=DecoderSpec("efficient_nms", {"conf": 0.25}),
    labels=("a",),
)
STABLE, UNSTABLE = 0.2, 0.9
"""The first number of an image, above 0.5 of which the reference amplifies rounding errors."""


def found(inputs: Mapping[str, Any], lost: int = 0) -> dict[str, np.ndarray]:
    """Four objects, of which one has no stable place, and ``lost`` are missing."""
    first = float(inputs["images"].flat[0])
    boxes = np.array([[[10 * one, 0, 10 * one + 8, 8] for one in range(4)]], np.float32)
    if first > 0.5:
        boxes[0, 0, :2] += np.float32(4 * np.modf(inputs["images"].astype(np.float64).sum() * 1e5)[0])
    scores = np.array([[0.9, 0.8, 0.7, 0.6]], np.float32)
    return dict(zip(NAMES, (np.array([[4 - lost]], np.int32), boxes, scores, np.zeros((1, 4), np.int32)), strict=True))


def sample(first: float) -> Sample:
    images = np.full((1, 3, 4, 4), 0.3, np.float32)
    images.flat[0] = first
    return Sample({"images": images}, found({"images": images}), again=found)


class Rounded:
    """Sums in another order; loses objects of images for which ``lost`` says so."""

    def __init__(self, **lost: int) -> None:
        self.lost = lost

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        first = float(inputs["images"].flat[0])
        kind = "unstable" if first > 0.5 else "stable"
        moved = inputs["images"] * np.float32(1 + 2e-7) if kind == "unstable" else inputs["images"]
        return found({"images": moved}, self.lost.get(kind, 0))


def verified(runner: Any, samples: list[Sample]) -> tuple[Verification, Link]:
    unstable: list[Check] = []
    precision = precision_named("fp32")
    checks, _, note = check_selected(runner, samples, SPEC, precision, batches=False, unstable=unstable)
    verification = Verification(checks, unstable=unstable, note=note, empty=not checks and not unstable)
    return verification, Link(2, "ONNX Runtime vs. reference")


def test_an_unstable_sample_is_skipped_and_reported() -> None:
    verification, link = verified(Rounded(), [sample(UNSTABLE), sample(STABLE)])
    verification.record(link)
    assert link.status == "passed"
    assert [check.samples for check in link.checks] == [1]
    assert link.reason.startswith("1 sample skipped: perturbing the input by one rounding error changes matched boxes")
    assert link.reason.endswith("of the reference to 0.75")


def test_without_other_samples_the_link_did_not_run() -> None:
    verification, link = verified(Rounded(), [sample(UNSTABLE)])
    verification.record(link)
    assert link.status == "not run"
    assert link.reason.startswith("every sample skipped")


@pytest.mark.parametrize("case", ["stable reference", "a larger difference", "a reference that cannot be run again"])
def test_a_wrong_graph_is_not_excused(case: str) -> None:
    runner = Rounded(stable=1) if case == "stable reference" else Rounded()
    given = sample(STABLE if case == "stable reference" else UNSTABLE)
    if case == "a larger difference":
        runner = Rounded(unstable=2)
    if case == "a reference that cannot be run again":
        given.again = None
    verification, link = verified(runner, [given])
    assert not verification.unstable
    with pytest.raises(VerificationError, match="matched boxes"):
        verification.record(link)
