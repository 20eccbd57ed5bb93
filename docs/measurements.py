"""The page of measurements: every table out of a file in benchmarks/results, beside the script that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results import markdown, read

NOT_MACHINE = ("date", "cpu", "cores", "python", "torch threads")
PLACES = ("static", "batch", "batch_hw")


def measurements_page() -> str:
    """Start-up, conversion, ONNX Runtime, per picture, mAP, engines."""
    lines = [
        "<!-- Written by `make docs` out of benchmarks/results: run the script that a section names, with --json keep. -->",
        "# Measurements",
        "",
        "What stands beside each other was measured in turns, in one run, on one machine; ratios carry over to another",
        "machine, seconds do not. The tables of [Swin](../explanation/swin-patches.md) and",
        "[DETR](../explanation/detr-patches.md) stand with their patches.",
    ]
    for section in (startup, conversion, latency, per_picture, average_precision, engines):
        lines += ["", *section()]
    return "\n".join(lines) + "\n"


def startup() -> list[str]:
    kept = read("startup")
    seconds = kept["cpu seconds"]
    own = seconds["adaptrt --version"]["median"]
    rows = [
        [f"`{name}`", f"{one['median']:.2f}", f"{one['min']:.2f}", f"{one['median'] / own:.1f}"]
        for name, one in seconds.items()
    ]
    return section(
        "Start-up", "startup", markdown(["command", "CPU seconds, median", "least", "next to --version"], rows), kept
    )


def conversion() -> list[str]:
    kept = read("convert_speed")
    names = {
        "converting": "adaptrt, converting",
        "proving": "adaptrt, proving it",
        "ultralytics": "Ultralytics' export, which proves nothing",
    }
    nodes = {"converting": kept["nodes"]["ours"], "ultralytics": kept["nodes"]["theirs"]}
    rows = [
        [text, f"{kept['seconds'][key]['median']:.2f}", f"{kept['seconds'][key]['min']:.2f}", nodes.get(key, "")]
        for key, text in names.items()
    ]
    ratio = kept["ratio"]
    told = f"Converting takes {ratio['median']:.2f} of the export beside it ({ratio['min']:.2f} to {ratio['max']:.2f}, pair by pair)."
    head = ["YOLOv5n to ONNX, dynamic batch, TorchScript", "seconds, median", "least", "nodes"]
    return section("Converting", "convert_speed", [*markdown(head, rows), "", told], kept)


def latency() -> list[str]:
    kept = read("onnx_latency")
    rows = [
        [
            batch,
            f"{one['ours']['median']:.1f}",
            f"{one['theirs']['median']:.1f}",
            f"{one['ratio']['median']:.2f} ({one['ratio']['min']:.2f} to {one['ratio']['max']:.2f})",
        ]
        for batch, one in kept["milliseconds"].items()
    ]
    head = ["YOLOv5n 640, ONNX Runtime, one thread", "ours, ms", "Ultralytics' file, ms", "ratio, pair by pair"]
    return section("The ONNX file on a CPU", "onnx_latency", markdown(head, rows), kept)


def per_picture() -> list[str]:
    kept = read("preprocess_speed")
    rows = [[one["picture"], " x ".join(map(str, one["size"])), *speeds(one)] for one in kept["rows"]]
    head = ["picture", "height x width", "ours, ms", "Ultralytics', ms", "ratio"]
    lines = section("Each picture: in", "preprocess_speed", markdown(head, rows), kept)
    kept = read("decode_speed")
    rows = [
        [f"`{one['decoder']}`", " x ".join(map(str, one["shape"])), one["candidates"], one["detections"], *speeds(one)]
        for one in kept["rows"]
    ]
    head = ["decoder", "output", "candidates", "boxes", "ours, ms", "Ultralytics', ms", "ratio"]
    return [*lines, "", *section("Each picture: out", "decode_speed", markdown(head, rows), kept)]


def speeds(one: dict[str, Any]) -> list[str]:
    return [f"{one['adaptrt_ms']:.2f}", f"{one['ultralytics_ms']:.2f}", f"{one['ratio']:.2f}"]


def average_precision() -> list[str]:
    kept = read("yolov5_map")
    names = list(next(iter(kept["scores"].values())))
    rows = [[name, *(f"{100 * one[key]:.2f}" for key in names)] for name, one in kept["scores"].items()]
    told = f"The trained YOLOv5n on {kept['pictures']} drawn pictures that it has not seen."
    return section("mAP before and after", "yolov5_map", [told, "", *markdown(["backend", *names], rows)], kept)


def engines() -> list[str]:
    kept = read("gpu_yolov5")
    where = kept["built_and_run_on"]
    rows = []
    for family, name in (("new", "package `ultralytics`"), ("classic", "repository `yolov5`")):
        for precision in ("fp32", "fp16"):
            found = [kept["engines"][f"{family}_{place}_{precision}"] for place in PLACES]
            cells = [agreement(one) for one in found]
            rows.append([f"{name}, {precision}", *cells])
    lines = [
        f"TensorRT {where['tensorrt']} on one {where['gpu']}, driver {where['driver']}, from the TorchScript export at opset",
        "17. The largest distance of a box and the largest difference of a score from eager torch in float32, and how many of",
        "the detections have a partner (IoU of at least 0.99 in fp32, 0.9 in fp16), in photographs at the smallest, the optimal",
        "and the largest shape of the profile (batch 32 at most, 960 x 960 at most); detections from a score of 0.25 on, of the",
        "checkpoint of the repository, which looks for helmets and vests, from 0.01 on.",
        "",
        *markdown(["YOLOv5n", "static", "dynamic batch", "dynamic batch, height, width"], rows),
        "",
        "mAP50-95 on drawn pictures, in points:",
        "",
        *markdown(
            ["engine", "mAP50-95", "mAP50"],
            [
                [f"`{name}`", f"{100 * one['mAP50-95']:.2f}", f"{100 * one['mAP50']:.2f}"]
                for name, one in kept["map"].items()
            ],
        ),
    ]
    return section("Engines", "gpu_yolov5", lines, None)


def agreement(engine: dict[str, Any]) -> str:
    """The worst of the shapes that an engine was run at."""
    shapes = [engine[size] for size in ("min", "opt", "max") if size in engine]
    box = max(one["box_px_detections"] for one in shapes)
    score = max(one["score_detections"] for one in shapes)
    paired, found = (sum(one[key] for one in shapes) for key in ("paired", "detections"))
    return f"{box:.2g} px, {score:.1g}, {paired} of {found}"


def section(title: str, script: str, lines: Sequence[str], kept: dict[str, Any] | None) -> list[str]:
    said = f"`benchmarks/{script}.py`" + (f": {machine(kept)}." if kept else ".")
    return [f"## {title}", "", *lines, "", said]


def machine(kept: dict[str, Any]) -> str:
    """What it ran on, in a line."""
    found = kept.get("machine") or kept["environment"]
    versions = [f"{name} {version}" for name, version in found.items() if name not in NOT_MACHINE]
    place = f"{found['cores']} cores of an {found['cpu']}, " if "cpu" in found else ""
    return f"{place}Python {found['python']}, {', '.join(versions)}" + (f", {found['date']}" if "date" in found else "")
