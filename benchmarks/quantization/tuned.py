"""What ``adaptrt tune`` finds on the fixtures, and what its recipe loses on images that the search did not see; resumable.

::

    python -m benchmarks.quantization.tuned detr --max-loss 0.3 --images 200      results/int8_tuned.json

The search scores its configurations on images of another seed. Each precision is kept as soon as it is measured; one that is
kept is not measured again (``--again``), or only its recipe is, on other images (``--held-out``). No engine is timed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import scratch
from benchmarks.common.results import FOLDER, arguments, machine, table
from benchmarks.quantization.accuracy import Model, calibration_of, converted, models

SEARCH_SEED = 4001  # no fixture was trained, calibrated or measured on it
RESULT = FOLDER / "int8_tuned.json"


def tuned(model: Model, folder: Path, precision: str, given: Any) -> dict[str, Any]:
    """The search and its recipe, and the score of the recipe on held-out images."""
    import adaptrt
    from adaptrt import CalibrationRequest

    float32 = folder / "best.onnx"
    float32 = float32 if float32.exists() else converted(model, folder)
    calibration = CalibrationRequest(calibration_of(model, folder, given.calib), images=given.calib)
    started = time.perf_counter()
    search = adaptrt.tune(
        float32,
        data=model.draw(folder / "search", given.search_images, SEARCH_SEED),
        calib=calibration,
        max_loss=given.max_loss,
        precision=precision,
        output=folder / f"{precision}.recipe.toml",
        latency=False,
        html=False,
    )
    seconds = time.perf_counter() - started
    found = search.tuning
    assert found is not None
    recipe = (folder / f"{precision}.recipe.toml").read_text(encoding="utf-8")
    return {
        "max-loss of the search": given.max_loss,
        "blocks": [
            {"name": one.name, "int8": one.int8, "fp16": one.fp16, "precision": one.precision} for one in found.blocks
        ],
        "points": [
            {
                "title": one.title,
                "loss": round(one.loss, 3),
                "confidence": None if one.confidence is None else round(one.confidence, 3),
                "cost": round(one.cost, 3),
                "chosen": one.chosen,
            }
            for one in found.points
        ],
        "recipe": recipe,
        "seconds": round(seconds, 1),
        **held_out(model, folder, precision, recipe, given),
        "images": {"calibration": given.calib, "search": given.search_images, "held out": given.images},
    }


def held_out(model: Model, folder: Path, precision: str, text: str, given: Any) -> dict[str, Any]:
    """The score of a recipe on images that neither its search nor its calibration saw."""
    import adaptrt
    from adaptrt import CalibrationRequest, LabeledData
    from adaptrt.specs.recipe import read_recipe

    float32 = folder / "best.onnx"
    float32 = float32 if float32.exists() else converted(model, folder)
    calibration = CalibrationRequest(calibration_of(model, folder, given.calib), images=given.calib)
    path = folder / "kept.recipe.toml"
    path.write_text(text, encoding="utf-8")
    recipe = read_recipe(path)
    validation = model.draw(folder / "val", given.images, model.seed)
    int8 = precision == "int8"
    report = adaptrt.build(
        float32,
        output=folder / "tuned.onnx",
        to="onnx",
        target=10,  # fp16 in the graph
        precision=precision,
        keep_fp32=recipe.keep_fp32,
        keep_fp16=recipe.keep_fp16,
        quantize_also=recipe.quantize_also,
        calib=calibration if int8 else None,
        data=LabeledData(validation, max_loss=100) if int8 else None,
        verify="quick",
        html=False,
    )
    checks = [(check.name, check.value, check.reason) for check in report.link(3).checks if check.kind == "metric"]
    return {
        "held out": [
            {"name": name, "value": round(value, 4), "reason": reason}
            for name, value, reason in (checks if int8 else [scored(float32, folder / "tuned.fp16.onnx", validation)])
        ],
        "notes": [note.replace(str(folder), "") for note in report.notes],
    }


def scored(float32: Path, half: Path, data: Path) -> tuple[str, float, str]:
    """Name, points and text of the loss of a file, as links report it for int8; there is no interval."""
    from adaptrt.evaluation import evaluate

    found = evaluate([float32, half], data, batch=1)
    (name, before), (_, after) = (next(iter(one.scores.items())) for one in found.results)
    text = f"{name} {100 * after:.2f} instead of {100 * before:.2f} on {found.images} images"
    return f"loss of {name}", 100 * (before - after), text


def main() -> None:
    known = models()
    parser = arguments(__doc__)
    parser.add_argument("model", choices=list(known))
    parser.add_argument("--precisions", nargs="+", default=["int8", "fp16"], choices=["int8", "fp16"])
    parser.add_argument("--calib", type=int, default=64, help="calibration images")
    parser.add_argument("--search-images", type=int, default=100)
    parser.add_argument("--images", type=int, default=200, help="held-out images")
    parser.add_argument("--max-loss", type=float, default=0.3, help="points that the search may lose")
    parser.add_argument("--again", action="store_true", help="measure precisions that are kept, too")
    parser.add_argument(
        "--held-out", action="store_true", help="score the recipes that are kept on --images, no search"
    )
    given = parser.parse_args()
    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    rows = kept.get(given.model, {}).get("precisions", {})
    about = machine("adaptrt", "onnxruntime", "onnx", "torch", "faster-coco-eval")
    with scratch() as folder:
        for precision in given.precisions:
            if precision in rows and given.held_out:
                row = rows[precision]
                row |= held_out(known[given.model], folder, precision, row["recipe"], given)
                row["images"]["held out"] = given.images
                row["held out on"] = about
            elif precision in rows and not given.again:
                continue
            else:
                rows[precision] = tuned(known[given.model], folder, precision, given)
            searched_on = kept[given.model]["machine"] if given.held_out and given.model in kept else about
            kept[given.model] = {"machine": searched_on, "precisions": rows}
            RESULT.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    table(
        ("precision", "configuration", "loss (points)", "cost"),
        [
            (precision, ("* " if one["chosen"] else "") + one["title"], one["loss"], one["cost"])
            for precision, row in rows.items()
            for one in row["points"]
        ],
    )
    for precision, row in rows.items():
        print(precision, *(f"{one['name']}: {one['reason']}" for one in row["held out"]))


if __name__ == "__main__":
    main()
