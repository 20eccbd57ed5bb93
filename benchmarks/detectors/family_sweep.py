"""Conversions of family folders: their weights and images, the sweep file, and the rows from its reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.sweeps import INPUTS, Conversion, conversions, prepared, write_sweep
from benchmarks.detectors.family_table import RESULT, load, place, save, without_paths

SIZE = (128, 256)
SIZES = {"ssd": (300, 300), "dino": (320, 416), "ddq": (320, 416)}
FEW_PROPOSALS = {"model.test_cfg.rpn.nms_pre": "60", "model.test_cfg.rpn.max_per_img": "20"}
FEW_BOXES = {"model.test_cfg.rcnn.score_thr": "0.0", "model.test_cfg.rcnn.max_per_img": "40"}
"""Enough to compare, and quick on a CPU. All scores: the threshold is that of lively.py."""
FEW_QUERIES = {"model.num_queries": "40"}
"""DINO gives each of the best cells of its encoder the query of its rank. Of 900 cells with random weights, some have scores so close that
one rounding error exchanges their queries, and with them their boxes."""

OPTIONS = {"to": "onnx", "batch": "1:2:2", "verify": "quick", "cache": False}
"""Of every conversion."""


def settings(folder: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the conversion, and under ``set`` those of the adapter: changes of the config, and decoder parameters."""
    height, width = SIZES.get(folder, SIZE)
    given: dict[str, Any] = {"imgsz": f"{height}x{width}", "target": "8"}
    own: dict[str, str] = {}
    if entry.get("kind") == "two stages":
        changes = FEW_PROPOSALS if entry["detector"] == "RPN" else {**FEW_PROPOSALS, **FEW_BOXES}
        own = {"nms_rounds": "60", **{f"cfg.{key}": value for key, value in changes.items()}}
    if entry.get("detector") == "DINO":
        own = {f"cfg.{key}": value for key, value in FEW_QUERIES.items()}
    if entry.get("detector") == "YOLOX":  # mmdet's keeps everything that passes its NMS
        own = {"max_det": "3000"}
    if any("DeformConv2d" in part for part in entry.get("parts", ())):
        given |= {"opset": 19, "target": "10"}
    return {**given, "set": own}


def prepare(folder: str, file: Path, root: Path) -> dict[str, Any]:
    """An entry of ``[[models]]``. Weights and images are written into ``root``.

    ``unprepared``: why there are none, so that the graph is compared without an image.
    """
    from adaptrt_mmdet.build import quiet

    entry = load(file)["folders"][folder]
    model: dict[str, Any] = {
        "name": folder,
        "source": entry["config"],
        "adapter": entry.get("adapter", "mmdet"),
        **settings(folder, entry),
    }
    if entry["verdict"] != "accepted":
        return model
    if entry["kind"] == "masks of queries":
        return {**model, "unprepared": "no weights that find something are made for masks of queries"}
    inputs = (root / INPUTS / folder).absolute()
    try:
        with quiet():
            found = lively_input(entry, SIZES.get(folder, SIZE), inputs, changes_in(model))
    except Exception as error:  # the table says why
        return {**model, "unprepared": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    model["set"] |= {"conf": str(found["conf"])}
    return {**model, "weights": str(found["weights"]), "image": str(found["image"])}


def changes_in(model: Mapping[str, Any]) -> dict[str, str]:
    """Of the config."""
    return {key.removeprefix("cfg."): value for key, value in model["set"].items() if key.startswith("cfg.")}


def lively_input(
    entry: Mapping[str, Any], size: tuple[int, int], folder: Path, changes: Mapping[str, str]
) -> dict[str, Any]:
    """Weights and an image in which something is found, and the threshold for it."""
    from benchmarks.detectors.lively import draw_images, lively, opened, threshold

    config, adapter = entry["config"], entry["adapter"]
    images = draw_images(folder, size)
    weights = lively(config, adapter, images, size, folder, changes)
    conf = threshold(opened(config, adapter, folder, changes, weights), adapter, images[:1], size)
    return {"weights": weights, "image": images[0], "conf": conf}


def prepare_all(names: Sequence[str], file: Path, root: Path, jobs: int) -> None:
    """``sweep.toml`` in ``root``, of these folders and those that were prepared before."""
    command = ("-m", "benchmarks.detectors.families", "--into", str(file), "--in", str(root), "--one")
    write_sweep(root, command, names, jobs, OPTIONS)


def take_sweep(root: Path, file: Path = RESULT) -> None:
    """Add the rows of the sweep in ``root``, which ran on this machine."""
    kept, about = load(file), place()
    inputs = prepared(root)
    by_config = {model["source"]: folder for folder, model in inputs.items()}
    for conversion in conversions(root):
        folder = by_config[conversion.options["source"]]
        row = row_of(conversion, inputs[folder].get("unprepared", ""))
        kept["folders"][folder]["converted"] = {**row, "machine": about}
        print(folder, "passed" if row["passed"] else row.get("reason") or row["links"], flush=True)
    save(kept, file)


def row_of(conversion: Conversion, unprepared: str = "") -> dict[str, Any]:
    """What the report says of the conversion."""
    if conversion.failure:
        failure = conversion.report.get("failure") or {}
        return {
            "passed": False,
            "reason": without_paths(conversion.failure)[:300],
            "stage": failure.get("stage", ""),
            "seconds": conversion.seconds,
        }
    links = {str(number): conversion.link(number)["status"] for number in (0, 1, 2, 5)}
    height, width = conversion.options["imgsz"].split("x")
    return {
        "passed": links["2"] == "passed" and "failed" not in links.values(),
        "links": links,
        "boxes": conversion.boxes(),
        "compared": conversion.link(2)["reason"],
        "without mmdet": "" if links["0"] == "passed" else unprepared or conversion.link(0)["reason"],
        "size": [int(height), int(width)],
        "changes": changes_in(conversion.options),
        "opset": conversion.options.get("opset"),
        "nodes": conversion.nodes(),
        "seconds": conversion.seconds,
    }
