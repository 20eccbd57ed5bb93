"""A list of 8 images in ONNX Runtime on a CPU: the call of a loaded model, and its parts called directly, in turns.

::

    python -m benchmarks.inference.list_speed [--before CHECKOUT] [--json keep]

Each side is a separate process, and runs one list at a time:

- ``model``: ``adaptrt.load(file)(images)``, which also decodes the outputs
- ``parts``: ``transform_batch`` and ONNX Runtime's ``session.run``, nothing decoded
- ``before``: the first, with the code of another checkout (``--before``)

Two networks: the YOLOv5n of the tests, and one that only averages each image, where what surrounds the network decides.

Every side checks that its input tensors, or predictions, are the same as those of ``parts`` on the same images.
"""

from __future__ import annotations

import hashlib
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
FIXTURE = ROOT / "tests" / "fixtures" / "yolov5n_shapes.pt"
LIST, WARM = 8, 3
ROUNDS = {"mean color": 40, "YOLOv5n": 12}
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920)}


def photos(size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [np.kron(rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8)) for _ in range(LIST)]  # fmt: skip


def serve(side: str, file: Path) -> None:
    """Print milliseconds and a digest of the predictions for each line on standard input, which names a size."""
    images = {name: photos(size) for name, size in SIZES.items()}
    call = whole(file) if side == "model" else parts(file)
    for line in sys.stdin:
        started = time.perf_counter()
        found = call(images[line.strip()])
        print(1000 * (time.perf_counter() - started), digest(found), flush=True)


def whole(file: Path) -> Callable[[Any], Any]:
    import adaptrt

    return adaptrt.load(file)


def parts(file: Path) -> Callable[[Any], Any]:
    import onnxruntime as ort

    from adaptrt.specs import METADATA_KEY, ModelSpec
    from adaptrt.vision.transforms import transform_batch

    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    spec = ModelSpec.from_json(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    names = [output.name for output in session.get_outputs()]

    def call(images: Any) -> Any:
        arrays, metas = transform_batch(images, spec)
        return dict(zip(names, session.run(None, arrays), strict=True)), metas, spec

    return call


def digest(found: Any) -> str:
    if isinstance(found, tuple):
        from adaptrt.vision.decoders.decode import decode

        found = decode(*found)
    arrays = [getattr(one, name) for one in found for name in ("boxes", "scores") if hasattr(one, name)]
    arrays += [value for one in found for value in getattr(one, "arrays", {}).values()]
    assert arrays
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


class Side:
    """A process that runs one side."""

    def __init__(self, side: str, file: Path, checkout: Path) -> None:
        env = {**os.environ, "PYTHONPATH": f"{checkout / 'core'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "benchmarks.inference.list_speed", "--serve", side, str(file)]
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def __call__(self, size: str) -> tuple[float, str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{size}\n")
        self._process.stdin.flush()
        spent, found = self._process.stdout.readline().split()
        return float(spent), found

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def measure(sides: dict[str, Side], size: str, rounds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + WARM):
        answers = {}
        for side in list(sides) if turn % 2 else list(reversed(sides)):
            spent, answers[side] = sides[side](size)
            if turn >= WARM:
                times[side].append(spent)
        assert len(set(answers.values())) == 1, answers
    found: dict[str, Any] = {side: spread(values) for side, values in times.items()}
    for side in times:
        if side != "model":
            found[f"model / {side}"] = spread([a / b for a, b in zip(times["model"], times[side], strict=True)])
    return found


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout of this repository")
    parser.add_argument("--serve", nargs=2, metavar=("SIDE", "FILE"), help="used internally")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve[0], Path(options.serve[1]))
        return

    import adaptrt

    result: dict[str, Any] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {"mean color": Path(folder) / "mean.onnx", "YOLOv5n": Path(folder) / "best.onnx"}
        write_network(files["mean color"], 640)
        adaptrt.convert(
            FIXTURE, adapter="yolov5", output=files["YOLOv5n"], batch="1:8", verify="quick", html=False, cache=False
        )
        for network, file in files.items():
            sides = {"model": Side("model", file, ROOT), "parts": Side("parts", file, ROOT)}
            if options.before:
                sides["before"] = Side("model", file, options.before.resolve())
            for size in SIZES:
                medians = measure(sides, size, ROUNDS[network])
                result[f"{network}, {size}"] = medians
                rows.append([f"{network}, {size}", *(f"{part['median']:.3g}" for part in medians.values())])
            for one in sides.values():
                one.close()
    head = next(iter(result.values()))
    table([f"list of {LIST}, ms (medians)", *head], rows)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")
    about = machine("adaptrt", "onnxruntime", "opencv-python", "numpy")
    finish("list_speed", options.json, {"machine": about, "load": os.getloadavg(), "milliseconds": result})


if __name__ == "__main__":
    main()
