"""A conversion of the YOLOv5n fixture to ONNX, beside the same conversion in another checkout, in turns.

::

    python -m benchmarks.conversion.before --before PYTHON [--verify quick] [--json keep]

``PYTHON`` is the interpreter of an environment in which the other checkout is installed, with the same versions of torch,
onnx and ONNX Runtime. Each side is a separate process that converts once for each turn; the first conversion, which
imports the frameworks, is not counted. The stages say where the time goes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.results import arguments, finish, machine, spread, table

ROOT = Path(__file__).parents[2]
FIXTURE = ROOT / "tests" / "fixtures" / "yolov5n_shapes.pt"
ROUNDS = 15


def serve(verify: str) -> None:
    """Convert once for each line on standard input; print wall and CPU seconds, and the seconds of each stage."""
    import adaptrt

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = shutil.copy(FIXTURE, Path(folder) / "best.pt")
        for _ in sys.stdin:
            started, busy = time.perf_counter(), time.process_time()
            report = adaptrt.convert(
                checkpoint, adapter="yolov5", output=Path(folder) / "best.onnx", html=False, cache=False, verify=verify
            )
            spent = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}
            stages: dict[str, float] = {}
            for stage in report.stages:
                stages[stage.name] = stages.get(stage.name, 0.0) + stage.seconds
            verifying = sum(stage.seconds for stage in report.stages if stage.verifying)
            print(json.dumps({**spent, "verifying": verifying, "stages": stages}), flush=True)


class Side:
    """A process that converts."""

    def __init__(self, python: Path, verify: str) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.conversion.before", "--serve", "--verify", verify],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def __call__(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="the interpreter of the other checkout")
    parser.add_argument("--verify", default="quick", choices=["none", "quick", "full"])
    parser.add_argument("--serve", action="store_true", help="used internally")
    options = parser.parse_args()
    if options.serve:
        return serve(options.verify)
    if not options.before:
        parser.error("--before PYTHON is required")
    sides = {name: Side(python, options.verify) for name, python in _pythons(options.before).items()}
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(ROUNDS + 1):
        for side in sides if turn % 2 else reversed(sides):
            answer = sides[side]()
            if turn:
                found[side].append(answer)
    for one in sides.values():
        one.close()
    kinds = ("seconds", "cpu", "verifying")
    values = {kind: {side: [one[kind] for one in runs] for side, runs in found.items()} for kind in kinds}
    values["converting"] = {
        side: [one["seconds"] - one["verifying"] for one in runs] for side, runs in found.items()
    }  # load, spec, patches, export, passes, write
    ratios = {
        kind: spread([now / then for now, then in zip(by["now"], by["before"], strict=True)])
        for kind, by in values.items()
    }
    stages = {
        side: {name: spread([one["stages"].get(name, 0.0) for one in runs]) for name in runs[0]["stages"]}
        for side, runs in found.items()
    }
    table(
        [f"--verify {options.verify}, s", "before", "now", "now / before"],
        [
            [kind, spread(by["before"])["median"], spread(by["now"])["median"], ratios[kind]["median"]]
            for kind, by in values.items()
        ],
    )
    names = dict.fromkeys([*stages["before"], *stages["now"]])
    print()
    table(
        ["stage, s (medians)", "before", "now"],
        [[name, *(stages[side].get(name, {}).get("median", "") for side in ("before", "now"))] for name in names],
    )
    finish(
        "convert_before",
        options.json,
        {
            "machine": machine("adaptrt", "ultralytics", "torch", "onnx", "onnxruntime"),
            "load": os.getloadavg(),
            "verify": options.verify,
            "seconds": {kind: {side: spread(one) for side, one in by.items()} for kind, by in values.items()},
            "now / before": ratios,
            "stages": stages,
        },
    )
    return None


def _pythons(before: Path) -> dict[str, Path]:
    return {"now": Path(sys.executable), "before": before.absolute()}


if __name__ == "__main__":
    main()
