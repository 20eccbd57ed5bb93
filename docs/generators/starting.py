"""Sections of the measurements page: how long commands take to start, and a source to be recognized."""

from __future__ import annotations

from benchmarks.common.results import markdown, read
from sections import section


def startup() -> list[str]:
    kept = read("startup")
    seconds, before = kept["cpu seconds"], kept["beside the other checkout"]
    own = seconds["adaptrt --version"]["median"]
    rows = [
        [
            f"`{name}`",
            f"{one['median']:.2f}",
            f"{one['min']:.2f}",
            f"{one['median'] / own:.1f}",
            f"{before[name]['now / before']['median']:.2f}" if name in before else "",
        ]
        for name, one in seconds.items()
    ]
    text = (
        f"Python alone takes {kept['python alone']['median']:.2f} s. The last column is relative to the version of 2026-11-25, "
        "before tasks, backends and commands were found by entry points; both in turns."
    )
    head = ["command", "CPU seconds, median", "minimum", "relative to --version", "relative to before"]
    return section("Start-up", "startup/startup", [*markdown(head, rows), "", text], kept)


def recognizing() -> list[str]:
    kept = read("recognizing")
    found = kept["cpu seconds"]

    def ms(seconds: float) -> str:
        return f"{seconds * 1e3:.1f}"

    rows = [
        [
            f"`{name}`",
            f"`{one['now']['adapter']}`",
            *(ms(one["now"][part]["median"]) for part in ("reading", "recognizing", "total")),
            ms(one["before"]["total"]["median"]),
        ]
        for name, one in found.items()
    ]
    head = ["source", "adapter", "reading, CPU ms", "recognizing, CPU ms", "both", "before"]
    text = (
        "Medians of new processes with adaptrt imported, in turns with the version before the pickle reader was made faster: reading the source as data, then finding, "
        "importing and calling the recognizers of all installed adapters. A checkpoint that contains a pickled network, as those "
        "of YOLO do, takes longer the more modules it has; a state dict or a folder does not."
    )
    return section("Recognizing a source", "startup/recognizing", [*markdown(head, rows), "", text], kept)
