"""CPU time from a source to its adapter: reading the source as data, then the recognizers of all installed adapters.

::

    python -m benchmarks.startup.recognizing [SOURCE ...] [--before PYTHON] [--json keep]

Each time is of a new process with adaptrt imported, so finding and importing the recognizers counts. Without SOURCE: the trained models
of the tests. ``--before``: also another checkout, in turns; ``PYTHON`` is the interpreter of an environment in which it is installed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.results import arguments, finish, machine, spread, table

FIXTURES = Path(__file__).parents[2] / "tests" / "fixtures"
SOURCES = ("yolov5n_shapes.pt", "detr_shapes.pth", "mask_rcnn_shapes.pth", "swin_shapes")
ROUNDS = 15
RECOGNIZE = """
import json, sys, time
from adaptrt.pipeline.recognize import matches_for, read_facts
started = time.process_time()
facts = read_facts(sys.argv[1])
read = time.process_time()
exact = [match.adapter for match in matches_for(facts)[0] if match.certainty == "exact"]
print(json.dumps({"reading": read - started, "recognizing": time.process_time() - read, "adapter": ", ".join(exact)}))
"""


def once(python: Path, source: Path) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-c", RECOGNIZE, source], check=True, capture_output=True, text=True, cwd=source.parent
    )
    return dict(json.loads(done.stdout))


def measure(sides: dict[str, Path], source: Path) -> dict[str, Any]:
    """CPU seconds of each side, which take turns; the first run fills the file cache."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(ROUNDS + 1):
        for side in sides if turn % 2 else reversed(sides):
            found = once(sides[side], source)
            if turn:
                runs[side].append(found)
    return {
        side: {
            "adapter": found[0]["adapter"],
            "reading": spread([one["reading"] for one in found]),
            "recognizing": spread([one["recognizing"] for one in found]),
            "total": spread([one["reading"] + one["recognizing"] for one in found]),
        }
        for side, found in runs.items()
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("sources", nargs="*", type=Path, metavar="SOURCE")
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="the interpreter of another checkout")
    options = parser.parse_args()
    sides = {"now": Path(sys.executable), **({"before": options.before.absolute()} if options.before else {})}
    sources = [source.resolve() for source in options.sources] or [FIXTURES / name for name in SOURCES]
    found = {source.name: measure(sides, source) for source in sources}
    table(
        ["source", "adapter", "reading ms", "recognizing ms", "total ms", "min", "before ms"],
        [
            [
                name,
                one["now"]["adapter"],
                *(one["now"][part]["median"] * 1e3 for part in ("reading", "recognizing", "total")),
                one["now"]["total"]["min"] * 1e3,
                one["before"]["total"]["median"] * 1e3 if "before" in one else "",
            ]
            for name, one in found.items()
        ],
    )
    finish("recognizing", options.json, {"machine": machine("adaptrt"), "load": os.getloadavg(), "cpu seconds": found})


if __name__ == "__main__":
    main()
