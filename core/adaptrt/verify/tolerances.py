"""The tolerance of an output: the adapter's, else the default."""

from __future__ import annotations

from adaptrt.specs import OutputGroup, Precision, Tolerance
from adaptrt.specs.tensors import ANY_OTHER

BATCH_INVARIANCE = Tolerance(0.0, 1e-5, "a sample must not depend on the rest of its batch; kernels may reorder sums")


def tolerance_of(group: OutputGroup, precision: Precision) -> Tolerance:
    """The adapter's tolerance for this group and precision, else the precision's for the group's unit."""
    tolerances = group.tolerances or {}
    return tolerances.get(precision.name) or tolerances.get(ANY_OTHER) or precision.tolerances[group.unit]
