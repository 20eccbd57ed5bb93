"""Conversions of family folders, side by side, each in a separate process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.detectors.family_table import load, place, save, without_paths

CONVERT_SECONDS = 900
SIZE = (128, 256)
SIZES = {"ssd": (300, 300), "dino": (320, 416), "ddq": (320, 416)}
FEW_PROPOSALS = {"model.test_cfg.rpn.nms_pre": "60", "model.test_cfg.rpn.max_per_img": "20"}
FEW_BOXES = {"model.test_cfg.rcnn.score_thr": "0.0", "model.test_cfg.rcnn.max_per_img": "40"}
"""Enough to compare, and quick on a CPU. All scores: the threshold is that of lively.py."""


def settings(folder: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of the config, image size, decoder parameters and further arguments of the conversion."""
    given: dict[str, Any] = {"imgsz": SIZES.get(folder, SIZE), "to": "onnx", "target": "8"}
    changes: dict[str, str] = {}
    options: dict[str, str] = {}
    if entry.get("kind") == "two stages":
        changes = FEW_PROPOSALS if entry["detector"] == "RPN" else {**FEW_PROPOSALS, **FEW_BOXES}
        options = {"nms_rounds": "60"}
    if entry.get("detector") == "YOLOX":  # mmdet's keeps everything that passes its NMS
        options = {"max_det": "3000"}
    if any("DeformConv2d" in part for part in entry.get("parts", ())):
        given |= {"opset": 19, "target": "10"}
    return {"changes": changes, "options": options, "given": given}


def convert(folder: str, entry: Mapping[str, Any], jobs: int) -> dict[str, Any]:
    """What the conversion of a folder's configuration says."""
    import adaptrt
    from adaptrt_mmdet.build import quiet

    if jobs > 1:
        use_one_thread()
    asked = settings(folder, entry)
    changes, given = asked["changes"], asked["given"]
    started, unprepared = time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as text:
        os.environ["ADAPTRT_CACHE_DIR"] = text
        options = {**asked["options"], **{f"cfg.{key}": value for key, value in changes.items()}}
        try:
            if entry["verdict"] == "accepted":
                with quiet():
                    given |= lively_input(entry, given["imgsz"], Path(text), changes)
                options["conf"] = str(given.pop("conf"))
        except Exception as error:  # the graph is compared without an image then, and the table says why
            unprepared = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        try:
            report = adaptrt.convert(
                entry["config"],
                adapter=entry.get("adapter", "mmdet"),
                output=Path(text) / "out.onnx",
                batch="1:2:2",
                verify="quick",
                html=False,
                options=options,
                **given,
            )
        except adaptrt.AdaptrtError as error:
            stage = error.report.failure.stage if error.report is not None and error.report.failure else ""
            return {
                "passed": False,
                "reason": without_paths(" ".join(error.message.split()))[:300],
                "stage": stage,
                "seconds": round(time.perf_counter() - started, 1),
            }
    links = {str(number): report.link(number).status for number in (0, 1, 2, 5)}
    return {
        "passed": links["2"] == "passed" and "failed" not in links.values(),
        "links": links,
        "boxes": len(report.images[0].predictions["framework"].data["scores"]) if report.images else 0,
        "compared": report.link(2).reason,
        "without mmdet": "" if links["0"] == "passed" else unprepared or report.link(0).reason,
        "size": list(given["imgsz"]),
        "opset": given.get("opset"),
        "nodes": sum(report.operators["final"].values()),
        "differences": {check.name: check.value for check in report.link(2).checks if check.kind != "metric"},
        "seconds": round(time.perf_counter() - started, 1),
    }


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


def use_one_thread() -> None:
    """Also in ONNX Runtime, whose threads would wait for those of the other processes."""
    import onnxruntime
    import torch

    torch.set_num_threads(1)
    original = onnxruntime.SessionOptions

    def options() -> Any:
        found = original()
        found.intra_op_num_threads = 1
        return found

    onnxruntime.SessionOptions = options


def converted(folder: str, file: Path, jobs: int, seconds: float) -> dict[str, Any] | None:
    """In a separate process, with a time limit; ``None`` if less time than ``CONVERT_SECONDS`` was left, and not enough."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.detectors.families", "--one", folder]
    command += ["--into", str(file), "--jobs", str(jobs)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=min(seconds, CONVERT_SECONDS)
        )
    except subprocess.TimeoutExpired:
        if seconds < CONVERT_SECONDS:
            return None
        return {"passed": False, "reason": f"longer than {CONVERT_SECONDS // 60} minutes"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"passed": False, "reason": done.stderr.strip()[-300:] or f"exit code {done.returncode}"}
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def convert_all(names: list[str], file: Path, jobs: int, minutes: float) -> None:
    """Side by side; those that are not done when the time is over have no result, and are taken by the next run."""
    until = time.monotonic() + 60 * minutes
    lock = threading.Lock()

    def run(name: str) -> None:
        left = until - time.monotonic()
        result = converted(name, file, jobs, left) if left > 0 else None
        if result is None:
            print(name, "no time left", flush=True)
            return
        with lock:
            kept = load(file)
            kept["folders"][name]["converted"] = result
            kept["conversions"] = place()
            save(kept, file)
        print(name, "passed" if result["passed"] else result, flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, names))
