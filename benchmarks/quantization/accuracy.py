"""What int8 costs on the fixtures: the task's main score of the float32 file and of its int8 form, by calibration method.

::

    python -m benchmarks.quantization.accuracy yolov5n --calib 64 --images 200      results/int8_accuracy.json

Methods ``modelopt-minmax`` and ``modelopt-entropy`` measure with NVIDIA ModelOpt, in an environment of extensions/modelopt.
Both files run in ONNX Runtime, on held-out images; calibration images are drawn with another seed. Results are kept by model and
method, each as soon as it is measured; a method that is kept for as many images is not measured again (``--again``).
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
    """A fixture: how it is converted, and how images for it are drawn (``draw(folder, count, seed)``).

    ``source`` makes it in a folder, or knows where it is.
    """

    source: Callable[[Path], Path]
    adapter: str
    seed: int
    options: Mapping[str, Any]
    draw: Callable[[Path, int, int], Path]


def models() -> dict[str, Model]:
    use_fixtures()
    from draw_shapes import DETECTION, write_classification_set, write_detection_set
    from sensitive_swin import write_sensitive_swin
    from train_detr import LOOK

    def fixture(name: str) -> Callable[[Path], Path]:
        return lambda _: FIXTURES / name

    def detection(folder: Path, count: int, seed: int) -> Path:
        return write_detection_set(folder, count, seed, DETECTION)

    def small_detection(folder: Path, count: int, seed: int) -> Path:
        return write_detection_set(folder, count, seed, LOOK, suffix=".png")

    swin = {"seed": 2003, "options": {"batch": "1:8:8"}, "draw": write_classification_set}
    return {
        "yolov5n": Model(fixture("yolov5n_shapes.pt"), "yolov5", 1002, {}, detection),
        "detr": Model(fixture("detr_shapes.pth"), "detr", 2002, {}, small_detection),
        "swin": Model(fixture("swin_shapes"), "swin", **swin),
        "swin_sensitive": Model(lambda folder: write_sensitive_swin(folder / "swin_sensitive"), "swin", **swin),
    }


def converted(model: Model, folder: Path) -> Path:
    """The float32 file."""
    import adaptrt

    float32 = folder / "best.onnx"
    adaptrt.convert(
        model.source(folder),
        adapter=model.adapter,
        output=float32,
        to="onnx",
        verify="none",
        html=False,
        **model.options,
    )
    return float32


def calibration_of(model: Model, folder: Path, count: int) -> Path:
    """A folder of images to calibrate on."""
    path = model.draw(folder / "calib", count, CALIBRATION_SEED)
    return path.parent / "images" if path.suffix == ".json" else path


def measure(float32: Path, folder: Path, calibration: Path, data: Path, method: str, calib: int) -> dict[str, Any]:
    import adaptrt
    from adaptrt import CalibrationRequest, LabeledData

    quantizer, _, name = method.rpartition("-")
    about = machine("adaptrt", "onnx", "onnxruntime", "torch", *(["nvidia-modelopt"] if quantizer else []))
    plugins = folder / "plugins.toml"
    plugins.write_text(f"[settings.modelopt]\nquantize = {str(quantizer == 'modelopt').lower()}\n", encoding="utf-8")
    started = time.perf_counter()
    report = adaptrt.build(
        float32,
        output=folder / f"{method}.int8.onnx",
        to="onnx",
        precision="int8",
        plugins_file=plugins,
        calib=CalibrationRequest(calibration, images=calib, method=name),  # type: ignore[arg-type]
        data=LabeledData(data, max_loss=100),
        verify="quick",
        html=False,
    )
    loss, *others = report.link(3).checks
    if quantizer and not any("nvidia-modelopt" in note for note in report.notes if note.startswith("int8:")):
        raise SystemExit(f"{method}: ModelOpt did not quantize: {report.notes}")
    return {
        "machine": about,
        "images": data_count(data),
        "calibration images": calib,
        "loss": round(loss.value, 3),
        "scores": loss.reason,
        "agreement": {check.title: round(check.value, 4) for check in others if check.higher_is_better},
        "distances": {check.title: round(check.value, 4) for check in others if not check.higher_is_better},
        "notes": [note.replace(str(folder), "") for note in report.notes],
        "seconds": round(time.perf_counter() - started, 1),
    }


def data_count(data: Path) -> int:
    """The number of images of a drawn set."""
    if data.suffix == ".json":
        return len(json.loads(data.read_text(encoding="utf-8"))["images"])
    return sum(path.is_file() for path in data.rglob("*"))


def main() -> None:
    known = models()
    parser = arguments(__doc__)
    parser.add_argument("model", choices=list(known))
    parser.add_argument("--calib", type=int, default=64, help="calibration images")
    parser.add_argument("--images", type=int, default=200, help="held-out images")
    parser.add_argument("--methods", nargs="+", default=["minmax", "percentile", "entropy"])
    parser.add_argument("--again", action="store_true", help="measure methods that are kept, too")
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    methods = kept.get(given.model, {}).get("methods", {})
    missing = [
        method
        for method in given.methods
        if given.again
        or (methods.get(method, {}).get("images"), methods.get(method, {}).get("calibration images"))
        != (given.images, given.calib)
    ]
    with scratch() as folder:
        model = known[given.model]
        float32 = converted(model, folder) if missing else folder
        data = model.draw(folder / "val", given.images, model.seed)
        calibration = calibration_of(model, folder, given.calib)
        for method in missing:
            methods[method] = measure(float32, folder, calibration, data, method, given.calib)
            kept[given.model] = {"methods": methods}
            RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    table(
        ("method", "images", "loss (points)", "scores"),
        [(name, row["images"], row["loss"], row["scores"]) for name, row in methods.items()],
    )


if __name__ == "__main__":
    main()
