"""CPU seconds that a command takes to start, compared with similar tools, alternating.

::

    python -m benchmarks.startup.startup [--before PYTHON] [--json keep]

A tool that is not installed is skipped. ``--before``: also the same commands of another checkout, in turns; ``PYTHON`` is the
interpreter of an environment in which it is installed.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.results import arguments, finish, machine, spread, table

COMMANDS = {
    "adaptrt --version": 20,
    "adaptrt --help": 20,
    "adaptrt convert --help": 20,
    "adaptrt adapters": 20,
    "yolo version": 7,
    "polygraphy --version": 7,
}
"""With the number of rounds."""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of the finished child process, as reported by the kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(scripts: dict[str, Path], text: str, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of one command for each side, which take turns; the first run fills the file cache."""
    tool, *words = text.split()
    times: dict[str, list[float]] = {side: [] for side in scripts}
    for turn in range(rounds + 1):
        for side in scripts if turn % 2 else reversed(scripts):
            seconds = cpu_seconds([str(scripts[side] / tool), *words])
            if turn:
                times[side].append(seconds)
    return times


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="the interpreter of another checkout")
    options = parser.parse_args()
    here = Path(sys.executable).parent
    sides = {"now": here, **({"before": options.before.absolute().parent} if options.before else {})}
    times: dict[str, list[float]] = {}
    before: dict[str, dict[str, Any]] = {}
    for text, rounds in COMMANDS.items():
        tool = text.partition(" ")[0]
        if not shutil.which(tool, path=str(here)):
            continue
        found = measure(sides if tool == "adaptrt" else {"now": here}, text, rounds)
        times[text] = found["now"]
        if "before" in found:
            ratios = [now / then for now, then in zip(found["now"], found["before"], strict=True)]
            before[text] = {"before": spread(found["before"]), "now / before": spread(ratios)}
    bare = [cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(20)]
    version = spread(times["adaptrt --version"])["median"]
    table(
        ["command", "CPU s", "min", "next to --version", "before", "now / before"],
        [
            [
                text,
                spread(values)["median"],
                min(values),
                spread(values)["median"] / version,
                *(
                    [before[text]["before"]["median"], before[text]["now / before"]["median"]]
                    if text in before
                    else ["", ""]
                ),
            ]
            for text, values in times.items()
        ],
    )
    finish(
        "startup",
        options.json,
        {
            "machine": machine(
                "adaptrt", "ultralytics", *(["polygraphy"] if shutil.which("polygraphy", path=str(here)) else [])
            ),
            "load": os.getloadavg(),
            "python alone": spread(bare),
            "cpu seconds": {text: spread(values) for text, values in times.items()},
            "beside the other checkout": before,
        },
    )


if __name__ == "__main__":
    main()
