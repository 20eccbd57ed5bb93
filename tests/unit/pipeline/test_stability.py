"""Samples on which the model itself is unstable prove nothing; the others still have to agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adaptrt import InputSpec, ModelSpec, OutputGroup, OutputSpec, VerificationError
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.verify import Verification, compare_samples
from adaptrt.report import Check, Link
from adaptrt.specs import precision_named

SCORES = OutputSpec("scores", groups=(OutputGroup("scores", "scores", rank_sensitive=True),))
SPEC = ModelSpec((InputSpec.image(4, 4),), outputs=(SCORES,))
DECIDED = np.linspace(0, 1, 8, dtype=np.float32)[None]
TIED = np.array([[0.1, 0.5, 0.5 + 1e-7, 0.9]], np.float32)


def ranked(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The place of each value, best first: it jumps where two are nearly equal."""
    return {"scores": np.argsort(-inputs["images"], 1).astype(np.float32) / 10}


def swapped(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Sums in another order: near ties fall the other way."""
    return ranked({"images": np.round(inputs["images"], 5)})


def sample(images: Any) -> Sample:
    return Sample({"images": images}, ranked({"images": images}), again=ranked)


def test_a_tie_is_skipped_and_reported() -> None:
    unstable: list[Check] = []
    checks, outputs = compare_samples(swapped, [sample(TIED), sample(DECIDED)], SPEC, precision_named("fp32"), unstable)
    assert [(check.name, check.value) for check in unstable] == [("scores", pytest.approx(0.1))]
    assert len(outputs) == 2
    assert [(check.samples, check.passed) for check in checks] == [(1, True)]
    link = Link(2, "ONNX Runtime vs. reference", reason="batches 2, 3")
    Verification(checks, unstable=unstable).record(link)
    assert link.status == "passed"
    assert link.reason.startswith(
        "batches 2, 3; 1 sample skipped: perturbing the input by one rounding error changes scores of the reference by 0.1"
    )


def test_where_every_sample_is_one_the_link_did_not_run() -> None:
    unstable: list[Check] = []
    checks, _ = compare_samples(swapped, [sample(TIED)], SPEC, precision_named("fp32"), unstable)
    link = Link(2, "ONNX Runtime vs. reference")
    Verification(checks, unstable=unstable).record(link)
    assert link.status == "not run"
    assert link.reason.startswith("every sample skipped")


def wrong(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {"scores": ranked(inputs)["scores"] + 0.5}


@pytest.mark.parametrize("case", ["the reference stays", "the group does not jump", "not asked for", "no reference"])
def test_a_wrong_graph_is_not_excused(case: str) -> None:
    spec = SPEC
    given = sample(DECIDED if case == "the reference stays" else TIED)
    if case == "the group does not jump":
        spec = replace(spec, outputs=(OutputSpec("scores", groups=(OutputGroup("scores", "scores"),)),))
    if case == "no reference":
        given.again = None
    unstable: list[Check] | None = None if case == "not asked for" else []
    checks, _ = compare_samples(wrong, [given], spec, precision_named("fp32"), unstable)
    assert not checks[0].passed
    assert not unstable
    with pytest.raises(VerificationError, match="Link 2"):
        Verification(checks, unstable=unstable or []).record(Link(2, "ONNX Runtime vs. reference"))
