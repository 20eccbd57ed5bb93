"""What is derived from a spec once, although every image needs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from adaptrt.specs.model import ModelSpec

T = TypeVar("T")
_MOST = 32


class SpecCache(Generic[T]):
    """``make(spec)`` of the latest specs, by identity: a spec takes long to hash. Each is kept, so that its id stays its own."""

    def __init__(self, make: Callable[[ModelSpec], T]) -> None:
        self._make = make
        self._kept: dict[int, tuple[ModelSpec, T]] = {}

    def __call__(self, spec: ModelSpec) -> T:
        kept = self._kept.get(id(spec))
        if kept is None:
            made = self._make(spec)
            if len(self._kept) >= _MOST:
                self._kept.clear()
            kept = self._kept[id(spec)] = (spec, made)
        return kept[1]
