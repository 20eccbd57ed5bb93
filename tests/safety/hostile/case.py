"""A hostile file: who makes it, the command that meets it, and what has to be true afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

CANARY = "PWNED"  # every payload names it: the file it leaves, or the word in a call that the audit hook sees
RUNS = f"touch {CANARY}"

USAGE, PLUGIN, MODEL, GRAPH, BUILD = 2, 3, 4, 7, 8
REFUSED = (USAGE, PLUGIN, MODEL, 5, 6, GRAPH, BUILD, 9)
ANY = (0, *REFUSED)  # the file is legal and what is hostile in it has to be shown harmlessly


@dataclass(frozen=True)
class Case:
    """``make(folder)`` writes the files, ``command`` is run in that folder.

    ``says``: a part of what the command has to print. ``needs``: modules without which the case is skipped.
    ``megabytes``: what the command may take beyond what the process had before it. ``everyday``: whether the everyday
    suite runs it; the others repeat a hostile file in another form.
    """

    name: str
    make: Callable[[Path], object]
    command: tuple[str, ...]
    codes: tuple[int, ...] = REFUSED
    says: str = ""
    needs: tuple[str, ...] = ()
    seconds: float = 30.0
    megabytes: int = 1024
    everyday: bool = True


def in_turn(cases: Sequence[Case], forms: int) -> Iterator[Case]:
    """Each run of ``forms`` cases is one hostile file in other forms: the everyday suite meets one form of each, in turn."""
    for index, case in enumerate(cases):
        yield replace(case, everyday=index % forms == index // forms % forms)


def thinned(cases: Sequence[Case], step: int = 3) -> Iterator[Case]:
    """Cases that take the same way through the code: the everyday suite meets every ``step``-th."""
    for index, case in enumerate(cases):
        yield replace(case, everyday=index % step == 0)


def convert(adapter: str, file: str, *words: str) -> tuple[str, ...]:
    """The command that converts ``file`` without verifying it."""
    return ("convert", "--adapter", adapter, file, "--verify", "none", "--no-cache", *words)
