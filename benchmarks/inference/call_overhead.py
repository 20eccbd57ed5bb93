"""One call of a loaded ONNX file, beside the same call in another checkout, in turns, on a CPU.

::

    python -m benchmarks.inference.call_overhead --before PYTHON [--json keep]

``PYTHON`` is the interpreter of an environment in which the other checkout is installed (``pip install -e 'CHECKOUT[onnx]' onnx``,
with the same versions of ONNX Runtime, NumPy and OpenCV). The other checkout writes the files, so that both sides read its format.
The network only averages each image, so that what surrounds it is measured:

- ``image``: ``model(image)``, an array of 64 x 64 pixels, which is also preprocessed and decoded
- ``arrays``: ``model.runner.run(arrays)``
- ``session``: ONNX Runtime's ``session.run`` with the same arrays, in both environments: what differs here is not adaptrt's

Each side is a separate process and measures blocks of calls; the sides take turns, and their order alternates.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.batch.images import write_network
from benchmarks.common.results import arguments, finish, machine, spread, table

ROOT = Path(__file__).parents[2]
SIZE = 64
CALLS, WARM, ROUNDS = 200, 3, 200
KINDS = ("image", "arrays", "session")


def serve(file: Path) -> None:
    """Print microseconds for a call, and a digest of its result, for each line on standard input, which names a kind."""
    import onnxruntime as ort

    import adaptrt

    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    arrays = {"images": rng.random((1, 3, SIZE, SIZE), np.float32)}
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    model = adaptrt.load(file)
    calls: dict[str, Callable[[], Any]] = {
        "image": lambda: model(image),
        "arrays": lambda: model.runner.run(arrays),
        "session": lambda: session.run(None, arrays),
    }
    for line in sys.stdin:
        call = calls[line.strip()]
        started = time.perf_counter()
        for _ in range(CALLS):
            found = call()
        spent = 1e6 * (time.perf_counter() - started) / CALLS
        print(json.dumps([spent, digest(found)]), flush=True)


def digest(found: Any) -> str:
    """Of predictions, arrays by name, or a list of arrays."""
    one = found[0] if isinstance(found, list) and not isinstance(found[0], np.ndarray) else found
    one = getattr(one, "arrays", getattr(one, "values", one)) if not isinstance(one, dict) else one
    values = one.values() if isinstance(one, dict) else one
    return hashlib.sha256(b"".join(np.asarray(value).tobytes() for value in values)).hexdigest()[:16]


def command(python: Path, *words: str | Path) -> list[str]:
    return [str(python), "-m", "benchmarks.inference.call_overhead", *map(str, words)]


class Side:
    """A process that measures blocks of calls."""

    def __init__(self, python: Path, file: Path) -> None:
        self._process = subprocess.Popen(
            command(python, "--serve", file), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def __call__(self, kind: str) -> tuple[float, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kind}\n")
        self._process.stdin.flush()
        spent, found = json.loads(self._process.stdout.readline())
        return spent, found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(sides: dict[str, Side], kind: str) -> dict[str, Any]:
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(ROUNDS + WARM):
        answers = {}
        for side in sides if turn % 2 else reversed(sides):
            spent, answers[side] = sides[side](kind)
            if turn >= WARM:
                times[side].append(spent)
        assert len(set(answers.values())) == 1, answers
    ratios = [after / before for after, before in zip(times["after"], times["before"], strict=True)]
    return {**{side: spread(values) for side, values in times.items()}, "after / before": spread(ratios)}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, metavar="PYTHON", help="the interpreter of the other checkout")
    parser.add_argument("--serve", type=Path, metavar="FILE", help="used internally")
    parser.add_argument("--write", type=Path, metavar="FILE", help="used internally")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    if options.write:
        return write_network(options.write, SIZE)
    if not options.before:
        parser.error("--before PYTHON is required")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mean.onnx"
        subprocess.run(command(options.before, "--write", file), check=True, cwd=ROOT)
        sides = {"after": Side(Path(sys.executable), file), "before": Side(options.before, file)}
        for kind in KINDS:
            result[kind] = measure(sides, kind)
        for one in sides.values():
            one.close()
    rows = [[kind, *(part["median"] for part in found.values())] for kind, found in result.items()]
    table(["microseconds for a call (medians)", *result[KINDS[0]]], rows)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    about = machine("adaptrt", "onnxruntime", "opencv-python", "numpy")
    finish("call_overhead", options.json, {"machine": about, "load": os.getloadavg(), "microseconds": result})
    return None


if __name__ == "__main__":
    main()
