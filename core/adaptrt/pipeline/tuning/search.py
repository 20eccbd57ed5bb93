"""The search: which blocks to keep in a higher precision, with few measurements of the loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

TRIES = 6
"""Blocks that are tried in the lower precision again after the limit is met."""


@dataclass(frozen=True)
class Candidate:
    """A block: its ``error`` if it alone has the lower precision, and how many operations that makes cheaper."""

    name: str
    error: float
    operations: float

    @property
    def rank(self) -> float:
        """Squared error for each operation: errors of blocks add up in squares."""
        return self.error**2 / max(self.operations, 1.0)


def search(
    candidates: Sequence[Candidate], loss: Callable[[frozenset[str]], float], limit: float
) -> tuple[frozenset[str], bool]:
    """Names of the blocks to keep, and whether the limit holds; ``loss(kept)`` measures.

    Blocks are kept in the order of their rank, as few as the limit needs (found by bisection, since the loss falls with
    each); then those of the lowest rank are tried in the lower precision again.
    """
    ordered = sorted(candidates, key=lambda one: -one.rank)
    measured: dict[frozenset[str], float] = {}

    def holds(kept: frozenset[str]) -> bool:
        if kept not in measured:
            measured[kept] = loss(kept)
        return measured[kept] <= limit

    def first(count: int) -> frozenset[str]:
        return frozenset(one.name for one in ordered[:count])

    if holds(first(0)):
        return first(0), True
    if not holds(first(len(ordered))):
        return first(len(ordered)), False
    low, high = 0, len(ordered)  # fails, holds
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(first(middle)) else (middle, high)
    kept = first(high)
    for one in ordered[: high - 1][::-1][:TRIES]:  # without the last one it fails
        if holds(kept - {one.name}):
            kept -= {one.name}
    return kept, True
