"""Nodes of a graph by module: groups of paths, and blocks of nodes that form a graph without cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


def grouped(names: Sequence[str], most: int) -> dict[str, list[str]]:
    """Names by their path (``/backbone/layer1/conv``): the largest group is divided until there would be more than
    ``most``. Names without a path are divided into runs of equal length."""
    groups: dict[str, list[str]] = {"": list(names)} if names else {}
    whole: set[str] = set()
    while True:
        divisible = [key for key, members in groups.items() if len(members) > 1 and key not in whole]
        if not divisible:
            break
        key = max(divisible, key=lambda one: len(groups[one]))
        parts: dict[str, list[str]] = {}
        for name in groups[key]:
            parts.setdefault(_next(name, key), []).append(name)
        if len(parts) == 1 and next(iter(parts)) != key:
            groups = {next(iter(parts)) if one == key else one: members for one, members in groups.items()}
        elif len(parts) == 1 or len(groups) - 1 + len(parts) > most:
            whole.add(key)
        else:
            groups = {
                title: members
                for one, kept in groups.items()
                for title, members in (parts.items() if one == key else [(one, kept)])
            }
    if len(groups) == 1 and len(names) > 1 and most > 1:
        size = -(-len(names) // most)
        runs = [list(names[at : at + size]) for at in range(0, len(names), size)]
        return {run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}": run for run in runs}
    return groups


def _next(name: str, prefix: str) -> str:
    """The prefix of ``name`` that is one component longer; a name that ends there is a group alone."""
    rest = name[len(prefix) :]
    if not rest:
        return prefix
    start = 1 if rest[0] == "/" else 0
    end = rest.find("/", start)
    return prefix + (rest if end < 0 else rest[:end])


@dataclass
class Block:
    """Nodes that are drawn as one, by index."""

    title: str
    nodes: list[int]


def collapse(titles: Sequence[str], reads: Sequence[Sequence[int]]) -> tuple[list[Block], list[tuple[int, int]]]:
    """Blocks of the nodes with the same title, and the edges between blocks.

    ``reads``: the earlier nodes that each node reads. A title gets a further block where one block would make a cycle.
    """
    blocks: list[Block] = []
    block_of: list[int] = []
    before: list[set[int]] = []  # the blocks that each block reads, directly
    latest: dict[str, list[int]] = {}
    for node, title in enumerate(titles):
        given = {block_of[one] for one in reads[node]}
        candidates = latest.setdefault(title, [])
        chosen = next((one for one in reversed(candidates) if not _reads_block(given - {one}, one, before)), None)
        if chosen is None:
            chosen = len(blocks)
            blocks.append(Block(title, []))
            before.append(set())
            candidates.append(chosen)
        blocks[chosen].nodes.append(node)
        block_of.append(chosen)
        before[chosen] |= given - {chosen}
    return blocks, sorted((source, target) for target, sources in enumerate(before) for source in sources)


def _reads_block(start: set[int], wanted: int, before: Sequence[set[int]]) -> bool:
    """Whether a block is among ``start`` or what they read, directly or not."""
    waiting, seen = list(start), set(start)
    while waiting:
        block = waiting.pop()
        if block == wanted:
            return True
        fresh = before[block] - seen
        seen |= fresh
        waiting += fresh
    return False
