"""What int8 costs on the fixtures: the task's main score of the float32 file and of its int8 form, by calibration method.

::

    python -m benchmarks.quantization.accuracy yolov5n --calib 64 --images 200      results/int8_accuracy.json

Both run in ONNX Runtime, on held-out images; calibration images are drawn with another seed. Results are kept by model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import FIXTURES, scratch
from benchmarks.common.results import FOLDER, arguments, machine, table, use_fixtures

CALIBRATION_SEED = 3001  # no fixture was trained or measured on it
RESULT = FOLDER / "int8_accuracy.json"


@dataclass(frozen=True)
class Model:
    """A fixture: how it is converted, and how images for it are drawn (``draw(folder, count, seed)``)."""

    source: Path
    adapter: str
    seed: int
    options: Mapping[str, Any]
    draw: Callable[[Path, int, int], Path]


def models() -> dict[str, Model]:
    use_fixtures()
    from draw_shapes import DETECTION, write_classification_set, write_detection_set
    from train_detr import LOOK

    def detection(folder: Path, count: int, seed: int) -> Path:
        return write_detection_set(folder, count, seed, DETECTION)

    def small_detection(folder: Path, count: int, seed: int) -> Path:
        return write_detection_set(folder, count, seed, LOOK, suffix=".png")

    return {
        "yolov5n": Model(FIXTURES / "yolov5n_shapes.pt", "yolov5", 1002, {}, detection),
        "detr": Model(FIXTURES / "detr_shapes.pth", "detr", 2002, {}, small_detection),
        "swin": Model(FIXTURES / "swin_shapes", "swin", 2003, {"batch": "1:8:8"}, write_classification_set),
    }


def measure(model: Model, folder: Path, calib: int, images: int, methods: list[str]) -> dict[str, Any]:
    import adaptrt
    from adaptrt import CalibrationRequest, LabeledData

    float32 = folder / "best.onnx"
    adaptrt.convert(
        model.source, adapter=model.adapter, output=float32, to="onnx", verify="none", html=False, **model.options
    )
    data = model.draw(folder / "val", images, model.seed)
    calibration = model.draw(folder / "calib", calib, CALIBRATION_SEED)
    calibration = calibration.parent / "images" if calibration.suffix == ".json" else calibration
    rows: dict[str, Any] = {}
    for method in methods:
        started = time.perf_counter()
        report = adaptrt.build(
            float32,
            output=folder / f"{method}.int8.onnx",
            to="onnx",
            precision="int8",
            calib=CalibrationRequest(calibration, images=calib, method=method),  # type: ignore[arg-type]
            data=LabeledData(data, max_loss=100),
            verify="quick",
            html=False,
        )
        loss, *others = report.link(3).checks
        rows[method] = {
            "loss": round(loss.value, 3),
            "scores": loss.reason,
            "agreement": {check.name: round(check.value, 4) for check in others if check.kind == "metric"},
            "distances": {check.name: round(check.value, 4) for check in others if check.kind != "metric"},
            "notes": [note.replace(str(folder), "") for note in report.notes],
            "seconds": round(time.perf_counter() - started, 1),
        }
        table(("method", "loss (points)"), [(name, row["loss"]) for name, row in rows.items()])
        print(rows[method])
    return rows


def main() -> None:
    known = models()
    parser = arguments(__doc__)
    parser.add_argument("model", choices=list(known))
    parser.add_argument("--calib", type=int, default=64, help="calibration images")
    parser.add_argument("--images", type=int, default=200, help="held-out images")
    parser.add_argument("--methods", nargs="+", default=["minmax", "percentile", "entropy"])
    given = parser.parse_args()
    with scratch() as folder:
        rows = measure(known[given.model], folder, given.calib, given.images, given.methods)
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    kept[given.model] = {
        "machine": machine("adaptrt", "onnxruntime", "onnx", "torch", "faster-coco-eval"),
        "calibration images": given.calib,
        "images": given.images,
        "methods": rows,
    }
    RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
