"""A batch job that is killed with SIGKILL at random times, and at last ends: whether its parts hold every image exactly once.

::

    python -m benchmarks.batch.kills [--kills 10] [--images 4000] [--folder FOLDER] [--json keep]

Every other kill comes at a random time, up to ``--longest`` seconds, after the start of the process, the others after its first new part.
At the end, the rows are compared with those of an uninterrupted job of the executor ``local``, and the names of the parts, which
contain their hashes. With ``--folder``, a run that was stopped continues with the kills that are left.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.batch.images import write_images, write_network
from benchmarks.common.results import arguments, finish, machine, table

NAME = "batch_kills"


def parts_in(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob("part-*"))
    }


def killed(command: list[str], folder: Path, seconds: float, *, after_part: bool) -> dict[str, Any]:
    """The job ended by a signal after so many seconds, with what it left."""
    before = len(list(folder.glob("part-*")))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while after_part and process.poll() is None and len(list(folder.glob("part-*"))) <= before:
        time.sleep(0.005)
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        code = process.wait()
    parts = parts_in(folder)
    return {
        "after": "first part" if after_part else "start",
        "seconds": round(seconds, 3),
        "code": code,
        "parts": len(parts),
        "rows": sum(map(len, parts.values())),
        "half-written": len(list(folder.glob(".part-*"))),
    }


def run(folder: Path, count: int, kills: int, longest: float, seed: int) -> dict[str, Any]:
    write_network(folder / "mean.onnx")
    images = write_images(folder / "images", count)
    results, state = folder / "results", folder / "kills.json"
    results.mkdir(exist_ok=True)
    words = ["batch", folder / "mean.onnx", folder / "images", "--part-size", "50", "-o"]
    command = [sys.executable, "-m", "adaptrt", *map(str, words)]
    found: list[dict[str, Any]] = json.loads(state.read_text()) if state.exists() else []
    draw = random.Random(seed)
    for index, seconds in enumerate([draw.uniform(0, longest) for _ in range(kills)]):
        if index < len(found):
            continue
        found.append(killed([*command, str(results)], results, seconds, after_part=bool(index % 2)))
        state.write_text(json.dumps(found), encoding="utf-8")
        print(found[-1], flush=True)
    subprocess.run([*command, str(results)], check=True, capture_output=True)
    whole = folder / "whole"
    subprocess.run([*command, str(whole), "--executor", "local"], check=True, capture_output=True)
    parts = parts_in(results)
    paths = [row["path"] for rows in parts.values() for row in rows]
    return {
        "kills": found,
        "rows": len(paths),
        "every image once": paths == [str(path) for path in images],
        "equal to an uninterrupted job": parts == parts_in(whole),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=10, metavar="N")
    parser.add_argument("--images", type=int, default=4000, metavar="N")
    parser.add_argument("--longest", type=float, default=3.0, metavar="S")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="keep the job here, to continue it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        started = time.monotonic()
        folder = options.folder or Path(name)
        folder.mkdir(exist_ok=True, parents=True)
        result = run(folder, options.images, options.kills, options.longest, options.seed)
        result["seconds"] = round(time.monotonic() - started)
    keys = ("after", "seconds", "code", "parts", "rows", "half-written")
    table(keys, [[one[key] for key in keys] for one in result["kills"]])
    print({key: value for key, value in result.items() if key != "kills"})
    about = machine("adaptrt", "onnxruntime", "opencv-python", "numpy")
    finish(NAME, options.json, {"machine": about, "images": options.images, **result})
    if not (result["every image once"] and result["equal to an uninterrupted job"]):
        raise SystemExit("rows were lost or doubled")


if __name__ == "__main__":
    main()
