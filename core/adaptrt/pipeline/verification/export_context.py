"""Compare, in eager mode, the changes to torch that are active during export; before anything is exported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from adaptrt.errors import VerificationError
from adaptrt.pipeline.verification.samples import Sample
from adaptrt.pipeline.verification.stability import reference_instability
from adaptrt.pipeline.verification.verify import compare_samples
from adaptrt.quantities import digits
from adaptrt.report import Link
from adaptrt.specs import ModelSpec
from adaptrt.specs.precisions import FP32

if TYPE_CHECKING:
    from adaptrt.export.eager import EagerRunner


def require_same_result(runner: EagerRunner, samples: Sequence[Sample], spec: ModelSpec, link: Link) -> None:
    """The model without torch's fused attention and without pools of unknown size; a ``VerificationError`` names the
    cause, and ``link`` fails with it."""
    from adaptrt.export.context import as_exported

    with as_exported():
        found = [(sample, runner.run(sample.inputs)) for sample in samples]
        # asked of the model as it is exported: its own ranks change there
        stable = [
            (sample, outputs)
            for sample, outputs in found
            if reference_instability(replace(sample, reference=outputs, again=runner.run), sample.reference, spec, FP32)
            is None
        ]
        if not stable:
            return
        samples, outputs = [sample for sample, _ in stable], [outputs for _, outputs in stable]
        again = iter(outputs)
        checks, _ = compare_samples(lambda _: next(again), samples, spec, FP32)
    failed = next((check for check in checks if not check.passed), None)
    if failed is None:
        return
    link.checks.extend(checks)
    link.status, link.reason = "failed", "compared in eager mode, without torch's fused attention"
    limit = f", at most {digits(failed.limit)} is accepted" if failed.limit is not None else ""
    raise VerificationError(
        f"The result depends on torch's fused attention, which cannot be exported: without it {failed.title} differs "
        f"by {digits(failed.value)}{limit}. {_where(samples, outputs)}",
        hint="Padded positions are 0 on the fast path and computed without it. Mask them before they are used: "
        "x.masked_fill(mask.unsqueeze(-1), 0), or nn.TransformerEncoder(..., enable_nested_tensor=False).",
    )


def _where(samples: Sequence[Sample], outputs: Sequence[dict[str, np.ndarray]]) -> str:
    """A note if all values that differ are 0 in the reference, as padded positions are."""
    for sample, found in zip(samples, outputs, strict=True):
        for name, expected in sample.reference.items():
            if expected.shape != found[name].shape:
                continue
            different = ~np.isclose(expected, found[name], rtol=1e-3, atol=1e-4, equal_nan=True)
            if different.any() and not (expected[different] == 0).all():
                return ""
    return "All values that differ are 0 with fused attention; the others match."
