"""Batch jobs on a CPU: images per second of each executor beside a plain loop.

::

    python -m benchmarks.batch.throughput [--json keep]                           a network that averages each image
    python -m benchmarks.batch.throughput --network YOLOv5n best.onnx [--json keep]    a converted file, under this name

Sides take turns, each in a separate process: ``loop`` (``model(path)`` for each file), and ``adaptrt batch`` with the executors
``local``, ``processes`` and, if Ray is installed, ``ray``, the last two with 1 and 2 workers. Each copy of the model has one CPU thread.
``images/s`` is the rate from a third of the rows to the last one, so without the start; ``start`` is the time to the first row.
``overhead`` is the time per image and worker beyond that of the loop, ``share`` the rate as a share of n times that of one worker.

Measurements are added to the result after each side; a run that was stopped continues with those that are missing, and ends after
``--minutes``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.batch.images import write_images, write_network
from benchmarks.common.results import FOLDER, machine, table

ROOT = Path(__file__).parents[2]
NAME = "batch_throughput"
SIDES = {"loop": 1, "local": 1, "processes, 1": 1, "processes, 2": 2, "ray, 1": 1, "ray, 2": 2}
"""Workers of each side."""
LONGEST = 150  # seconds of a side
TOGETHER = 0.05  # seconds: Ray returns the rows of several images at once


def measure(side: str, model: Path, images: Path) -> dict[str, float]:
    """In a separate process: seconds to the first row, and images per second after a third of them."""
    paths = sorted(images.iterdir())
    started, rows = time.perf_counter(), list[float]()
    if side == "loop":
        from adaptrt.pipeline.executors import LOCAL
        from adaptrt.specs.executors import ExecutorOptions

        with LOCAL.open(model, ExecutorOptions(threads=1)) as opened:
            for path in paths:
                opened(path)
                rows.append(time.perf_counter())
    else:
        run_job(side, model, paths, rows)
    third = rows[len(rows) // 3]  # Ray's first rows wait for its start, while actors go on
    later = sum(row > third + TOGETHER for row in rows)
    if not later:
        raise SystemExit(f"{side}: all rows arrived at once; use more --images.")
    return {"start": rows[0] - started, "rate": later / (rows[-1] - third)}


def run_job(side: str, model: Path, paths: list[Path], rows: list[float]) -> None:
    from adaptrt.batch.processes import ProcessOptions
    from adaptrt.batch.run import BatchRequest, run_batch
    from adaptrt.specs.executors import EXECUTORS, ExecutorOptions

    name, _, _ = side.partition(",")
    own: Any = None
    if name == "processes":
        own = ProcessOptions(workers=SIDES[side])
    elif name == "ray":
        from adaptrt_ray import RayOptions

        own = RayOptions(actors=SIDES[side])
    with tempfile.TemporaryDirectory() as folder:
        run_batch(
            BatchRequest(
                model=model,
                sources=paths,
                output=Path(folder),
                executor=EXECUTORS.find(name),
                options=ExecutorOptions(threads=1, own=own),
                progress=lambda _: rows.append(time.perf_counter()),
            )
        )


def available() -> list[str]:
    ray = importlib.util.find_spec("ray") and importlib.util.find_spec("adaptrt_ray")
    return [side for side in SIDES if ray or not side.startswith("ray")]


def summary(network: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, by side; those that were not measured are left out."""
    measured = {side: found for side, found in network["sides"].items() if found}
    rates = {side: statistics.median(one["rate"] for one in found) for side, found in measured.items()}
    starts = {side: statistics.median(one["start"] for one in found) for side, found in measured.items()}
    rows: dict[str, dict[str, float]] = {}
    for side, rate in rates.items():
        row = {"images/s": rate, "start, s": starts[side]}
        if side != "loop" and "loop" in rates:
            row["overhead, ms"] = 1000 * (SIDES[side] / rate - 1 / rates["loop"])
        one = rates.get(side.replace(", 2", ", 1"))
        if SIDES[side] > 1 and one:
            row["share"] = rate / (SIDES[side] * one)
        rows[side] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--network", nargs=2, metavar=("NAME", "FILE"), help="a converted file, and its name in the result"
    )
    parser.add_argument("--images", type=int, default=1000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument(
        "--minutes", type=float, default=9.0, metavar="N", help="start no other measurement after so many minutes"
    )
    parser.add_argument("--json", metavar="FILE", help="the result; 'keep': in benchmarks/results", default="keep")
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "FILE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side, file, folder = options.side
        print(json.dumps(measure(side, Path(file), Path(folder))))
        return
    until = time.monotonic() + 60 * options.minutes
    where = FOLDER / f"{NAME}.json" if options.json == "keep" else Path(options.json)
    result: dict[str, Any] = json.loads(where.read_text()) if where.exists() else {"networks": {}}
    title, file = options.network or ("mean color", "")
    network = result["networks"].setdefault(title, {"images": options.images, "sides": {}})
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model = Path(file) if file else folder / "mean.onnx"
        if not file:
            write_network(model)
        write_images(folder / "images", network["images"])
        for _ in range(options.rounds):
            for side in available():
                found = network["sides"].setdefault(side, [])
                least = min(len(network["sides"].get(one, [])) for one in available())
                if len(found) >= options.rounds or len(found) > least or time.monotonic() > until:
                    continue
                command = [sys.executable, "-m", "benchmarks.batch.throughput", "--side", side, str(model), str(folder / "images")]  # fmt: skip
                try:
                    done = subprocess.run(
                        command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=LONGEST
                    )
                except subprocess.SubprocessError as error:
                    print(f"{side} failed: {error}\n{str(getattr(error, 'stderr', ''))[-2000:]}", flush=True)
                    continue
                found.append({**json.loads(done.stdout.splitlines()[-1]), "load": os.getloadavg()[0]})
                result["machine"] = machine("adaptrt", "onnxruntime", "opencv-python", "numpy", *(["ray"] if "ray, 1" in available() else []))  # fmt: skip
                where.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
                print(side, found[-1], flush=True)
    keys = ("images/s", "start, s", "overhead, ms", "share")
    rows = summary(network)
    table([title, *keys], [[side, *(row.get(key, "") for key in keys)] for side, row in rows.items()])


if __name__ == "__main__":
    main()
