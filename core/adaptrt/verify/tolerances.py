"""What is accepted of an output, unless an adapter knows better."""

from __future__ import annotations

from adaptrt.specs import OutputGroup, Precision, Tolerance

BATCH_INVARIANCE = Tolerance(0.0, 1e-5, "a sample does not depend on its neighbors; kernels may reorder sums")


def tolerance_of(group: OutputGroup, precision: Precision) -> Tolerance:
    """The adapter's tolerance for this group and precision, else the precision's for the group's unit."""
    own = (group.tolerances or {}).get(precision.name)
    return own or precision.tolerances[group.unit]
