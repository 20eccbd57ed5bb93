"""Latency in ONNX Runtime on a CPU: adaptrt's file compared with Ultralytics' own export of the same checkpoint, alternating.

::

    python -m benchmarks.inference.onnx_latency [--checkpoint FILE] [--json keep]
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common.results import arguments, finish, machine, spread, table

os.environ.setdefault("YOLO_AUTOINSTALL", "False")
FIXTURE = Path(__file__).parents[2] / "tests" / "fixtures" / "yolov5n_shapes.pt"
ROUNDS = 40


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=FIXTURE)
    options = parser.parse_args()

    import onnxruntime as ort
    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    import adaptrt

    LOGGER.setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = Path(shutil.copy(options.checkpoint, folder / "theirs.pt"))
        adaptrt.convert(
            options.checkpoint, adapter="yolov5", output=folder / "ours.onnx", verify="quick", html=False, cache=False
        )
        with contextlib.redirect_stdout(io.StringIO()):
            exported = YOLO(str(checkpoint)).export(format="onnx", dynamic=True, verbose=False)
        sessions = {}
        for side, path in (("ours", folder / "ours.onnx"), ("theirs", exported)):
            settings = ort.SessionOptions()
            settings.intra_op_num_threads = 1  # threads of a busy machine wait for each other
            sessions[side] = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        rows, result = [], {}
        for batch in (1, 4):
            images = np.random.default_rng(0).random((batch, 3, 640, 640), dtype=np.float32)
            times: dict[str, list[float]] = {side: [] for side in sessions}
            for round_ in range(ROUNDS // batch + 3):
                order = list(sessions) if round_ % 2 else list(reversed(sessions))
                for side in order:
                    started = time.perf_counter()
                    sessions[side].run(None, {"images": images})
                    if round_ > 2:
                        times[side].append((time.perf_counter() - started) * 1000)
            ratio = spread([a / b for a, b in zip(times["ours"], times["theirs"], strict=True)])
            rows.append([f"batch {batch}", *(spread(values)["median"] for values in times.values()), ratio["median"]])
            result[f"batch {batch}"] = {**{side: spread(values) for side, values in times.items()}, "ratio": ratio}
    table(["ONNX Runtime, CPU, one thread", "ours ms", "Ultralytics ms", "ratio"], rows)
    finish(
        "onnx_latency",
        options.json,
        {"machine": machine("adaptrt", "ultralytics", "onnxruntime", "torch"), "milliseconds": result},
    )


if __name__ == "__main__":
    main()
