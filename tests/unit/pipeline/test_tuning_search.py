"""The search keeps as few blocks as the limit needs, with few measurements."""

from __future__ import annotations

from adaptrt.pipeline.tuning.search import Candidate, search

ERRORS = {f"block{index}": 0.01 * index for index in range(16)}
CANDIDATES = [Candidate(name, error, 10.0) for name, error in ERRORS.items()]


class Loss:
    """Squares of the errors of all blocks that are not kept."""

    def __init__(self) -> None:
        self.calls: list[frozenset[str]] = []

    def __call__(self, kept: frozenset[str]) -> float:
        self.calls.append(kept)
        return sum(error**2 for name, error in ERRORS.items() if name not in kept)


def test_the_most_sensitive_blocks_are_kept() -> None:
    loss = Loss()
    kept, holds = search(CANDIDATES, loss, 0.06)
    assert holds
    assert kept == {"block15", "block14", "block13", "block12"}
    assert len(loss.calls) <= 2 + 4 + 3
    assert len(set(loss.calls)) == len(loss.calls)


def test_nothing_is_kept_if_nothing_is_lost() -> None:
    loss = Loss()
    assert search(CANDIDATES, loss, 1.0) == (frozenset(), True)
    assert len(loss.calls) == 1


def test_a_limit_that_nothing_meets() -> None:
    assert search(CANDIDATES, lambda _: 9.0, 1.0) == (frozenset(ERRORS), False)


def test_a_block_that_makes_most_cheaper_is_kept_last() -> None:
    big = Candidate("big", 0.2, 1000.0)
    kept, _ = search([big, Candidate("small", 0.19, 10.0)], lambda kept: 0.0 if kept else 9.0, 1.0)
    assert kept == {"small"}


def test_blocks_are_tried_again_after_the_limit_is_met() -> None:
    """The ranking said that ``a`` is worst; what decides is ``c``."""
    candidates = [Candidate(name, error, 1.0) for name, error in (("a", 3.0), ("b", 2.0), ("c", 1.0))]
    kept, holds = search(candidates, lambda kept: 0.0 if "c" in kept else 9.0, 1.0)
    assert (kept, holds) == ({"c"}, True)
