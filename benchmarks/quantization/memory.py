"""Memory and time of int8 calibration by number of images, on the YOLOv5n fixture at 640 pixels; resumable.

::

    python -m benchmarks.quantization.memory --counts 16 1000 --methods minmax      results/int8_memory.json

Each row is a separate process: ``adaptrt.build`` with ``--calib`` and without verification. ``peak``: its largest resident set,
by ``getrusage``. Rows that are kept are not measured again (``--again``).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import scratch
from benchmarks.common.results import FOLDER, arguments, machine, table
from benchmarks.quantization.accuracy import CALIBRATION_SEED, converted, models

RESULT = FOLDER / "int8_memory.json"


def measure(float32: str, images: str, count: int, method: str) -> dict[str, Any]:
    import adaptrt
    from adaptrt import CalibrationRequest

    started = time.perf_counter()
    report = adaptrt.build(
        float32,
        output=Path(float32).with_name("measured.onnx"),
        to="onnx",
        target=8,
        precision="int8",
        calib=CalibrationRequest(Path(images), images=count, method=method),  # type: ignore[arg-type]
        verify="none",
        html=False,
    )
    (note,) = (note for note in report.notes if note.startswith("int8:"))
    return {
        "images": count,
        "method": method,
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": round(time.perf_counter() - started, 1),
        "note": note.partition(";")[0],
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--counts", nargs="+", type=int, default=[16, 1000])
    parser.add_argument("--methods", nargs="+", default=["minmax"])
    parser.add_argument("--again", action="store_true", help="measure rows that are kept, too")
    given = parser.parse_args()
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if RESULT.exists() and not given.again else []
    kept = {(row["images"], row["method"]) for row in rows}
    missing = [(count, method) for method in given.methods for count in given.counts if (count, method) not in kept]
    with scratch() as folder:
        if missing:
            model = models()["yolov5n"]
            float32 = converted(model, folder)
            images = (
                model.draw(folder / "calib", max(count for count, _ in missing), CALIBRATION_SEED).parent / "images"
            )
        for count, method in missing:
            words = ["one", str(float32), str(images), str(count), method]
            command = [sys.executable, "-m", "benchmarks.quantization.memory", *words]
            rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
            result = {"machine": machine("adaptrt", "onnxruntime", "numpy"), "rows": rows}
            RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    table(
        ("method", "images", "peak MiB", "seconds"),
        [(one["method"], one["images"], one["peak MiB"], one["seconds"]) for one in rows],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])))
    else:
        main()
