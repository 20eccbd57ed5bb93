"""A part of a sequence that stands for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` of the items in their order, spread evenly; all of them if there are not more."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
