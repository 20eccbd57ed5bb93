"""What is accepted of an output, unless an adapter knows better."""

from __future__ import annotations

from adaptrt.specs import OutputGroup, Precision, Tolerance
from adaptrt.specs.tensors import ANY_OTHER

BATCH_INVARIANCE = Tolerance(0.0, 1e-5, "a sample does not depend on its neighbors; kernels may reorder sums")


def tolerance_of(group: OutputGroup, precision: Precision) -> Tolerance:
    """The adapter's tolerance for this group and precision, else the precision's for the group's unit."""
    tolerances = group.tolerances or {}
    return tolerances.get(precision.name) or tolerances.get(ANY_OTHER) or precision.tolerances[group.unit]
