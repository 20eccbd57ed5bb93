"""Time to convert a YOLOv5n to ONNX, compared with Ultralytics' own export: same exporter, both warm, alternating.

::

    python -m benchmarks.conversion.convert_speed [--checkpoint FILE] [--json keep]

adaptrt's time is split into conversion (load, spec, patches, export, passes, write) and verification (reference runs and
links), which Ultralytics' export does not do. Both sides include loading the checkpoint.
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

from benchmarks.common.results import arguments, finish, machine, spread, table

os.environ.setdefault("YOLO_AUTOINSTALL", "False")
FIXTURE = Path(__file__).parents[2] / "tests" / "fixtures" / "yolov5n_shapes.pt"
ROUNDS = 5


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--checkpoint", type=Path, default=FIXTURE)
    options = parser.parse_args()

    from ultralytics import YOLO
    from ultralytics.utils import LOGGER

    import adaptrt

    LOGGER.setLevel(logging.ERROR)
    ours: list[float] = []
    proving: list[float] = []
    theirs: list[float] = []
    nodes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoint = Path(shutil.copy(options.checkpoint, folder / "theirs.pt"))
        for round_ in range(ROUNDS + 1):
            started = time.perf_counter()
            report = adaptrt.convert(
                options.checkpoint, adapter="yolov5", output=folder / "ours.onnx", html=False, cache=False
            )
            whole = time.perf_counter() - started
            spent = sum(stage.seconds for stage in report.stages if stage.verifying)
            started = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                exported = YOLO(str(checkpoint)).export(format="onnx", dynamic=True, verbose=False)
            seconds = time.perf_counter() - started
            if round_:  # the first imports and warms up
                ours.append(whole - spent)
                proving.append(spent)
                theirs.append(seconds)
            nodes = {"ours": sum(report.operators["final"].values()), "theirs": node_count(exported)}
    ratio = spread([a / b for a, b in zip(ours, theirs, strict=True)])
    table(
        ["YOLOv5n to ONNX, dynamic batch", "seconds", "min", "nodes"],
        [
            ["adaptrt, converting", spread(ours)["median"], min(ours), nodes["ours"]],
            ["adaptrt, verifying", spread(proving)["median"], min(proving), ""],
            ["Ultralytics export", spread(theirs)["median"], min(theirs), nodes["theirs"]],
        ],
    )
    print(
        f"\nconversion time, adaptrt / Ultralytics, pairwise: {ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})"
    )
    finish(
        "convert_speed",
        options.json,
        {
            "machine": machine("adaptrt", "ultralytics", "torch", "onnx", "onnxslim"),
            "seconds": {"converting": spread(ours), "proving": spread(proving), "ultralytics": spread(theirs)},
            "ratio": ratio,
            "nodes": nodes,
        },
    )


def node_count(path: str) -> int:
    import onnx

    return len(onnx.load(path).graph.node)


if __name__ == "__main__":
    main()
