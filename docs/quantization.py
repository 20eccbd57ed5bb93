"""The tables of the page on int8, from benchmarks/results."""

from __future__ import annotations

from pathlib import Path

from benchmarks.common.results import markdown, read, with_tables

PAGE = Path(__file__).parent / "how-to" / "quantize-to-int8.md"
TITLES = {
    "yolov5n": "YOLOv5n, 640 pixels",
    "detr": "DETR, 256 pixels",
    "swin": "Swin, 64 pixels",
    "swin_sensitive": "Swin with sensitive attention, 64 pixels",
}


def int8_page() -> str:
    return with_tables(PAGE, {"int8_accuracy": accuracy, "int8_tuned": tuned})


def accuracy() -> list[str]:
    """A row for each fixture and calibration method."""
    rows = [
        [TITLES[model], method, row["images"], *_scores(row["scores"])]
        for model, kept in read("int8_accuracy").items()
        for method, row in kept["methods"].items()
    ]
    return markdown(["fixture", "method", "images", "int8", "float32", "95 % interval of the loss (points)"], rows)


def tuned() -> list[str]:
    """A row for each fixture and precision: the recipe on images that the search did not see."""
    rows = []
    for model, kept in read("int8_tuned").items():
        for precision, row in kept["precisions"].items():
            chosen = next(one for one in row["points"] if one["chosen"])
            floating = sum(block["precision"] != precision for block in row["blocks"] if block[precision] is not None)
            loss = next(one for one in row["held out"] if one["name"].startswith("loss"))
            counts = [f"{floating} of {len(row['blocks'])}", chosen["cost"], row["images"]["held out"]]
            rows.append([TITLES[model], precision, *counts, *_scores(loss["reason"])])
    head = ["fixture", "precision", "blocks in a higher precision", "cost", "images", "result", "float32"]
    return markdown([*head, "95 % interval of the loss (points)"], rows)


def _scores(text: str) -> list[str]:
    """Both scores and the interval, out of ``mAP 74.14 instead of 74.76 on 200 images; 95 % interval of the loss ...``."""
    scores, _, interval = text.partition("; ")
    metric_and_score, _, original = scores.partition(" instead of ")
    words = interval.removeprefix("95 % interval of the loss ").partition(" points")[0]
    return [metric_and_score, original.partition(" on ")[0], words]
