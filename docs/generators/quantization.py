"""The tables of the page on int8, from benchmarks/results."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, markdown, read, with_tables

PAGE = Path(__file__).parents[1] / "how-to" / "quantize-to-int8.md"
TITLES = {
    "yolov5n": "YOLOv5n, 640 pixels",
    "detr": "DETR, 256 pixels",
    "swin": "Swin, 64 pixels",
    "swin_sensitive": "Swin with sensitive attention, 64 pixels",
}


def int8_page() -> str:
    tables = {
        "int8_accuracy": accuracy,
        "int8_tuned": tuned,
        "int8_memory": memory,
        "int8_gpu": gpu,
        "int8_engines": engines,
        "int8_types": types,
        "int8_kinds": kinds,
        "int8_layers": layers,
    }
    return with_tables(PAGE, tables)


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


def memory() -> list[str]:
    rows = [
        [row["method"], row["images"], row["peak MiB"], f"{row['seconds']:.0f}"] for row in read("int8_memory")["rows"]
    ]
    return markdown(["method", "images", "largest resident memory (MiB)", "seconds"], rows)


def gpu() -> list[str]:
    """A row for each network and batch."""
    timed = [(title, found) for name, title in NETWORKS.items() if (found := _comparison(name))]
    rows = [row for title, found in timed for row in _timed(title, found)]
    return markdown(["network, GPU", "batch", "fp32", "fp16", "int8", "int8 / fp16", ""], rows)


def engines() -> list[str]:
    """A row for each engine of a trained network: milliseconds, and the scores of its ONNX file and of itself."""
    rows: list[list[Any]] = []
    for name, title in NETWORKS.items():
        found = _comparison(name)
        for kind, words in _ROWS.items():
            row = found.get(kind, {})
            if "scores" in row:
                times = [f"{row['microseconds'][batch]['p50'] / 1e3:.2f}" for batch in _BATCHES]
                scores = {one["backend"]: next(iter(one["scores"].items())) for one in row["scores"]}
                points = [f"{100 * scores[backend][1]:.2f}" for backend in ("onnxruntime", "tensorrt")]
                rows.append([f"{title}, {_gpu_of(row)}", words, *times, scores["tensorrt"][0], *points])
    sizes = [f"batch {batch.split()[1]} (ms)" for batch in _BATCHES]
    return markdown(["network, GPU", "precision", *sizes, "score", "ONNX file", "engine"], rows)


def types() -> list[str]:
    """A row for each engine in a reduced precision: its layers by the type that the precision report shows."""
    rows: list[list[Any]] = []
    for name, title in NETWORKS.items():
        for kind, words in _ROWS.items():
            row = _comparison(name).get(kind)
            if row is not None and kind != "fp32":
                report = row["precision_report"]
                counts = ", ".join(f"{count} {precision}" for precision, count in report["layers"].items())
                opaque = f"{report['opaque_share']:.0%}".replace("%", " %")
                rows.append([f"{title}, {_gpu_of(row)}", words, row["level"], counts, report["other_layers"], opaque])
    head = ["network, GPU", "precision", "level", "layers by type", "other layers", "weights in opaque parts"]
    return markdown(head, rows)


def _comparison(network: str) -> dict[str, Any]:
    """The rows of a network that were timed in turns on one GPU, by precision."""
    return _run(network)[1]


def _run(network: str) -> tuple[str, dict[str, Any]]:
    """The file with the most rows of a network, the newest of several; those with fp16 first."""
    runs: list[tuple[str, dict[str, Any]]] = []
    for file in _RUNS:
        rows = [row for row in read(file)["rows"] if row["network"] == network and "microseconds" in row]
        runs.append((file, {row["precision"]: row for row in rows}))
    compared = [(file, found) for file, found in runs if "int8" in found]
    return max(compared, key=lambda run: ("fp16" in run[1], len(run[1]), run[1]["int8"]["created"]), default=("", {}))


def _gpu_of(row: Mapping[str, Any]) -> str:
    return re.sub("NVIDIA | 80GB HBM3", "", row["gpu"])


def _timed(title: str, found: Mapping[str, Any]) -> list[list[Any]]:
    levels = [
        f"{name} at level {found[name]['level']}"
        for name, level in _LEVELS.items()
        if name in found and found[name]["level"] != level
    ]
    rows = []
    for batch in _BATCHES:
        times = [f"{found[name]['microseconds'][batch]['p50'] / 1e3:.2f}" if name in found else "" for name in _LEVELS]
        share = found["int8"].get("time as a share of fp16", {}).get(batch)
        verdict = "slower: use fp16" if share is not None and share >= 1 else ""
        text = "" if share is None else f"{share:.2f}"
        rows.append([", ".join([title, _gpu_of(found["int8"]), *levels]), batch.split()[1], *times, text, verdict])
    return rows


def kinds() -> list[str]:
    """The layers of both engines by kind and type: how many, and how long they take."""
    both = [one["by kind"] for one in _layer_times()]
    longest = {
        kind: max(one.get(kind, {"milliseconds": 0})["milliseconds"] for one in both) for one in both for kind in one
    }
    rows = []
    for kind in sorted(longest, key=lambda name: -longest[name]):
        if longest[kind] >= _SHORTEST:
            found = [one.get(kind, {"layers": 0, "milliseconds": 0.0}) for one in both]
            rows.append(
                [f"`{kind}`", *(cell for one in found for cell in (one["layers"], f"{one['milliseconds']:.2f}"))]
            )
    total = [cell for one in _layer_times() for cell in ("", f"{one['milliseconds']:.2f}")]
    return markdown(["kind and type", "int8: layers", "ms", "fp16: layers", "ms"], [*rows, ["all layers", *total]])


def layers() -> list[str]:
    """The layers that take longest, of both engines side by side."""
    columns = [one["longest layers"][:_LONGEST] for one in _layer_times()]
    rows = [
        [cell for time, name in pair for cell in (f"{time:.2f}", f"`{_layer(name)}`")]
        for pair in zip(*columns, strict=True)
    ]
    return markdown(["int8 (ms)", "layer", "fp16 (ms)", "layer"], rows)


def _layer_times() -> list[dict[str, Any]]:
    """What TensorRT's profiler measured of YOLOv5m's engines in the other table, in int8 and fp16."""
    kept = read(_run("yolov5m")[0])["layers by time"]
    return [kept[f"yolov5m_{name}"] for name in ("int8", "fp16")]


_RUNS = sorted(path.stem for path in FOLDER.glob("gpu_int8*.json"))
_BATCHES = ("batch 1", "batch 8", "batch 32")
_ROWS = {
    "fp32": "fp32",
    "fp16": "fp16",
    "int8": "int8",
    "tuned": "int8 with the recipe of tune",
    "modelopt": "int8 by ModelOpt",
}
_LEVELS = {"fp32": 0, "fp16": 1, "int8": 1}
"""Precisions in the order of the table, with the optimization level that the page states."""
_LONGEST = 8
_SHORTEST = 0.05
"""Milliseconds of a kind of layers that is listed."""
NETWORKS = {
    "yolov5m": "YOLOv5m",
    "swin_t": "Swin-T",
    "yolov5n_shapes": "YOLOv5n",
    "detr_shapes": "DETR fixture",
    "swin_shapes": "Swin fixture",
    "swin_sensitive": "Swin fixture with sensitive attention",
    "retinanet_r50": "RetinaNet R50, 640 pixels",
    "detr_r50": "DETR R50, 800x1216",
}


def _layer(name: str) -> str:
    """The name without weights, and without what all names begin with."""
    parts = [part for part in name.split(" + ") if not part.startswith("onnx::")]
    return " + ".join(parts).replace("model/network/", "").removeprefix("/")[:60]


def _scores(text: str) -> list[str]:
    """Both scores and the interval, out of ``mAP 74.14 instead of 74.76 on 200 images; 95 % interval of the loss ...``."""
    scores, _, interval = text.partition("; ")
    metric_and_score, _, original = scores.partition(" instead of ")
    words = interval.removeprefix("95 % interval of the loss ").partition(" points")[0]
    return [metric_and_score, original.partition(" on ")[0], words]
