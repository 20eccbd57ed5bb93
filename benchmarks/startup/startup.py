"""CPU seconds that a command takes to start, compared with similar tools, alternating.

::

    python -m benchmarks.startup.startup [--json keep]

A tool that is not installed is skipped.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.common.results import arguments, finish, machine, spread, table

COMMANDS = [
    ("adaptrt --version", "adaptrt"),
    ("adaptrt --help", "adaptrt"),
    ("adaptrt adapters", "adaptrt"),
    ("yolo version", "yolo"),
    ("polygraphy --version", "polygraphy"),
]
ROUNDS = 7


def cpu_seconds(command: list[str]) -> float:
    """User and system time of the finished child process, as reported by the kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    options = arguments(__doc__).parse_args()
    scripts = Path(sys.executable).parent
    found = [
        (text, [str(scripts / tool), *text.split()[1:]])
        for text, tool in COMMANDS
        if shutil.which(tool, path=str(scripts))
    ]
    times: dict[str, list[float]] = {text: [] for text, _ in found}
    for round_ in range(ROUNDS + 1):
        for text, command in found:
            seconds = cpu_seconds(command)
            if round_:  # the first fills the file cache
                times[text].append(seconds)
    bare = [cpu_seconds([sys.executable, "-c", "pass"]) for _ in range(ROUNDS)]
    result = {
        "machine": machine(
            "adaptrt", "ultralytics", *(["polygraphy"] if shutil.which("polygraphy", path=str(scripts)) else [])
        ),
        "python alone": spread(bare),
        "cpu seconds": {text: spread(values) for text, values in times.items()},
    }
    table(
        ["command", "CPU s", "min", "next to --version"],
        [
            [
                text,
                spread(values)["median"],
                min(values),
                spread(values)["median"] / spread(times["adaptrt --version"])["median"],
            ]
            for text, values in times.items()
        ],
    )
    finish("startup", options.json, result)


if __name__ == "__main__":
    main()
