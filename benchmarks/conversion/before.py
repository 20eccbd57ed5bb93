"""A conversion of the YOLOv5n fixture to ONNX, beside the same conversion in another checkout, in turns.

::

    python -m benchmarks.conversion.before --before PYTHON [--verify quick] [--json keep]

``PYTHON`` is the interpreter of an environment in which the other checkout is installed, with the same versions of torch,
onnx and ONNX Runtime. Each side is a separate process that converts once for each turn; the first conversion, which
imports the frameworks, is not counted. Times are CPU seconds of one thread on one core: other jobs on the machine change
them least, and threads that wait for each other are not counted. The stages say where the time goes.
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
ROUNDS = 11


def serve(verify: str) -> None:
    """Convert once for each line on standard input; print the CPU seconds, and those of each stage."""
    if hasattr(os, "sched_setaffinity"):  # ONNX Runtime starts a thread for each core that it may use
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import torch

    import adaptrt
    from adaptrt.pipeline.observer import Observer

    torch.set_num_threads(1)

    class Clock(Observer):
        def __init__(self) -> None:
            self.stages: dict[str, float] = {}
            self.verifying = 0.0

        def stage_started(self, name: str) -> None:  # noqa: ARG002
            self.started = time.process_time()

        def stage_finished(self, stage: Any) -> None:
            spent = time.process_time() - self.started
            self.stages[stage.name] = self.stages.get(stage.name, 0.0) + spent
            self.verifying += spent if stage.verifying else 0.0

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = shutil.copy(FIXTURE, Path(folder) / "best.pt")
        for _ in sys.stdin:
            clock, started = Clock(), time.process_time()
            adaptrt.convert(
                checkpoint,
                adapter="yolov5",
                output=Path(folder) / "best.onnx",
                html=False,
                cache=False,
                verify=verify,
                observer=clock,
            )
            whole = time.process_time() - started
            print(json.dumps({"whole": whole, "verifying": clock.verifying, "stages": clock.stages}), flush=True)


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
    kinds = ("whole", "verifying")
    values = {kind: {side: [one[kind] for one in runs] for side, runs in found.items()} for kind in kinds}
    values["converting"] = {
        side: [one["whole"] - one["verifying"] for one in runs] for side, runs in found.items()
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
        [f"--verify {options.verify}, CPU s", "before", "now", "now / before"],
        [
            [kind, spread(by["before"])["median"], spread(by["now"])["median"], ratios[kind]["median"]]
            for kind, by in values.items()
        ],
    )
    names = dict.fromkeys([*stages["before"], *stages["now"]])
    print()
    table(
        ["stage, CPU s (medians)", "before", "now"],
        [[name, *(stages[side].get(name, {}).get("median", "") for side in ("before", "now"))] for name in names],
    )
    finish(
        "convert_before",
        options.json,
        {
            "machine": machine("adaptrt", "ultralytics", "torch", "onnx", "onnxruntime"),
            "load": os.getloadavg(),
            "verify": options.verify,
            "cpu seconds": {kind: {side: spread(one) for side, one in by.items()} for kind, by in values.items()},
            "now / before": ratios,
            "stages": stages,
        },
    )
    return None


def _pythons(before: Path) -> dict[str, Path]:
    return {"now": Path(sys.executable), "before": before.absolute()}


if __name__ == "__main__":
    main()
