"""Finds the first tensor that differs with few of them at a time, in the way of a bisection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from adaptrt.graph.tensors import GraphTensor

Judge = Callable[[Sequence[str]], Mapping[str, bool]]
"""Compares these tensors: whether each is within its limit."""


def bisect(
    tensors: Sequence[GraphTensor], outputs: Mapping[str, bool], candidates: Iterable[str], judge: Judge, at_once: int
) -> str | None:
    """The first tensor that differs; ``None`` if all ``outputs`` (by name: within the limit) agree.

    A difference is assumed to remain in what is computed from it: what a tensor within its limit is computed from is not
    looked at. Each round compares up to ``at_once`` tensors that the earliest one known to differ is computed from.
    """
    order = {tensor.name: position for position, tensor in enumerate(tensors)}
    sources = {tensor.name: tensor.sources for tensor in tensors}
    failing = sorted((name for name, passed in outputs.items() if not passed), key=order.__getitem__)
    if not failing:
        return None
    target = failing[0]
    left = set(candidates) & ancestors(target, sources)
    for name, passed in outputs.items():
        if passed:
            left -= {name, *ancestors(name, sources)}
    while left:
        found = judge(_dividing(sorted(left, key=order.__getitem__), at_once))
        for name, passed in found.items():
            left.discard(name)
            if passed:
                left -= ancestors(name, sources)
        wrong = [name for name, passed in found.items() if not passed]
        if wrong:
            target = min(wrong, key=order.__getitem__)
            left &= ancestors(target, sources)
    return target


def _dividing(names: Sequence[str], count: int) -> list[str]:
    """Up to ``count`` names that divide the others into parts of one size."""
    count = min(count, len(names))
    return [names[(2 * index + 1) * len(names) // (2 * count)] for index in range(count)]


def ancestors(name: str, sources: Mapping[str, Sequence[str]]) -> set[str]:
    """Everything that a tensor is computed from."""
    found: set[str] = set()
    todo = list(sources.get(name, ()))
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo.extend(sources.get(one, ()))
    return found
