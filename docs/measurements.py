"""The page of measurements: every table out of a file in benchmarks/results, beside the script that made it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from results import markdown, read

NOT_MACHINE = ("date", "cpu", "cores", "python", "torch threads")
PLACES = ("static", "batch", "batch_hw")


def measurements_page() -> str:
    """Start-up, conversion, ONNX Runtime, per image, mAP, engines: exactness, latency, builds."""
    lines = [
        "<!-- Written by `make docs` out of benchmarks/results: run the script that a section names, with --json keep. -->",
        "# Measurements",
        "",
        "What stands beside each other was measured in turns, in one run, on one machine; ratios carry over to another",
        "machine, seconds do not. The tables of [Swin](../explanation/swin-patches.md) and",
        "[DETR](../explanation/detr-patches.md) stand with their patches.",
    ]
    for section in (
        startup,
        conversion,
        latency,
        per_image,
        average_precision,
        engines,
        evaluated,
        engine_latency,
        timing_cache,
    ):
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


def per_image() -> list[str]:
    kept = read("preprocess_speed")
    rows = [[one["image"], " x ".join(map(str, one["size"])), *speeds(one)] for one in kept["rows"]]
    head = ["image", "height x width", "ours, ms", "Ultralytics', ms", "ratio"]
    lines = section("Each image: in", "preprocess_speed", markdown(head, rows), kept)
    kept = read("decode_speed")
    rows = [
        [f"`{one['decoder']}`", " x ".join(map(str, one["shape"])), one["candidates"], one["detections"], *speeds(one)]
        for one in kept["rows"]
    ]
    head = ["decoder", "output", "candidates", "boxes", "ours, ms", "Ultralytics', ms", "ratio"]
    return [*lines, "", *section("Each image: out", "decode_speed", markdown(head, rows), kept)]


def speeds(one: dict[str, Any]) -> list[str]:
    return [f"{one['adaptrt_ms']:.2f}", f"{one['ultralytics_ms']:.2f}", f"{one['ratio']:.2f}"]


def average_precision() -> list[str]:
    kept = read("yolov5_map")
    names = list(next(iter(kept["scores"].values())))
    rows = [[name, *(f"{100 * one[key]:.2f}" for key in names)] for name, one in kept["scores"].items()]
    told = f"The trained YOLOv5n on {kept['images']} drawn images that it has not seen."
    if any("fp16" in name for name in kept["scores"]):
        told += " fp16 is the graph in half precision that\nTensorRT 10 and later get; ONNX Runtime [computes part of it in float32](../explanation/precision.md#link-3)."
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
        "17, optimization level 0 (fp32) and 1 (fp16), without the tactics of cuBLAS and cuDNN. Each cell, next to eager torch in float32: the largest distance of a box, the",
        "largest difference of a score, and how many of the detections have a partner (IoU of at least 0.99 in fp32, 0.9 in fp16).",
        "Images at the smallest, the optimal and the largest shape of the profile (batch 32 at most, 960 x 960 at most);",
        "detections from a score of 0.25 on. The checkpoint of the repository looks for helmets and vests: its detections count from 0.01 on.",
        "",
        *markdown(["YOLOv5n", "static", "dynamic batch", "dynamic batch, height, width"], rows),
        "",
        "mAP50-95 of the checkpoint of the package, on drawn images (PNG; those above are JPEG), in points:",
        "",
        *markdown(
            ["engine", "mAP50-95", "mAP50"],
            [
                [f"`{name}`", f"{100 * one['mAP50-95']:.2f}", f"{100 * one['mAP50']:.2f}"]
                for name, one in kept["map"].items()
            ],
        ),
        "",
        "What [the receipt](../explanation/precision.md#the-receipt) of engines in half precision says, with those of Swin and DETR",
        "(`benchmarks/swin_gpu.py`, `benchmarks/gpu_detr.py`); opaque is the share of the weights in parts that TensorRT does not",
        "show, size the plan next to the float32 weights (it holds kernels too, and a version-compatible one a runtime):",
        "",
        *markdown(["engine", "evidence", "opaque", "size", "GPU"], receipts()),
    ]
    return section("Engines", "gpu_yolov5", lines, None)


PRECISION_REPORTS = {
    "swin_gpu": {"swin_tiny": "tiny_gather", "swin_small": "small_gather", "swin_base": "base_gather"},
    "gpu_detr": {"detr_r50": "r50", "detr_shapes": "shapes"},
}
"""Engines of the other models, and the name of their graph: file, row, graph."""


def receipts() -> list[list[Any]]:
    """Of every engine in half precision, nothing named to stay in float32."""
    found = dict(read("gpu_yolov5")["receipts"])
    for file, graphs in PRECISION_REPORTS.items():
        kept = read(file)
        for name, graph in graphs.items():
            gpu = kept["built_and_run_on"]["gpu"]
            found[name] = {"gpu": gpu, **kept[f"accuracy_{graph}_fp16"]["receipt"]}
    return [
        [f"`{name}`", one["evidence"], f"{100 * one['opaque_share']:.0f} %", f"{one['plan_share']:.2f}", one["gpu"]]
        for name, one in found.items()
        if one["precision"] == "fp16"
    ]


FIXTURES = {
    "yolov5": ("YOLOv5n", "mAP"),
    "detr": ("a small DETR", "mAP"),
    "swin": ("a small Swin", "top-1"),
}


def evaluated() -> list[str]:
    """What ``adaptrt evaluate`` counted beside each other."""
    kept = read("gpu_evaluate")
    rows = []
    for adapter, (title, score) in FIXTURES.items():
        for precision in ("fp32", "fp16"):
            for batch in (1, 8):
                one = kept[f"evaluate_{adapter}_{precision}_{batch}"]
                found = {result["backend"]: result["scores"][score] for result in one["results"]}
                rows.append(
                    [title, one["images"], score, precision, batch]
                    + [f"{100 * found[backend]:.2f}" for backend in ("eager", "onnxruntime", "tensorrt")]
                )
    example = kept["evaluate_detr_fp16_8"]["command"]
    lines = [
        f"The trained fixtures through the command itself, in one process with torch, on one {kept['built_and_run_on']['gpu']}: eager and",
        "ONNX Runtime on its CPU, the engines of TensorRT 8.6 (version-compatible, optimization level 0 in fp32 and 1 in fp16) in the",
        "lean runtime of 10.16. Each line is a run like",
        "",
        "```text",
        example.replace(" --json", ""),
        "```",
        "",
        "which fails if any score of the engine is more than that many points below eager's. (Since these were taken, eager is named",
        "on the command line too: `--adapter detr --source detr_shapes.py --weights detr_shapes.pth`.)",
        "",
        *markdown(["fixture", "images", "score", "engine", "batch", "eager", "ONNX Runtime", "TensorRT"], rows),
    ]
    return section("Every backend, side by side", "gpu_evaluate", lines, None)


def engine_latency() -> list[str]:
    """Two runs on one machine: without torch beside the bare loop, and with torch in one process."""
    kept = read("gpu_yolov5")
    bare, beside, compiled = kept["latency"], kept["latency_torch"], kept["latency_compiled"]
    batches = [name for name in bare if name.startswith("batch")]
    head = ["", *batches]

    def ratio(name: str) -> list[str]:
        return [name, *(f"{bare[batch][name]:.2f}" for batch in batches)]

    lines = [
        f"YOLOv5n 640 x 640, fp16, batch 1 to 32, on one {bare['gpu']}, driver {bare['driver']}. Microseconds from the call to",
        "the end of its work, p50 / p90 / p99, data on the GPU unless numpy is said. The bare loop is the least that cuda-python",
        f"can do with the same engine: fixed addresses, one stream, no checks. {bare['backend']}, without torch; the engine was built at",
        f"optimization level {kept['timing_cache']['level']}, version-compatible, without the tactics of cuBLAS and cuDNN. *Graph* replays a CUDA graph, *enqueue* does not;",
        "*borrowed* outputs are overwritten by the next call, *owned* ones stay the caller's; *inputs that move* lie elsewhere in each call,",
        "and the few calls that capture a graph for them show in p99:",
        "",
        *markdown(
            head,
            [
                *(_times(name, bare, batches) for name in bare[batches[0]] if name.startswith(("bare", "ours"))),
                ratio("ratio enqueue"),
                ratio("ratio graph"),
                ["overhead of our graph call, us", *(f"{bare[batch]['overhead graph us']:.0f}" for batch in batches)],
            ],
        ),
        "",
        f"In one process with torch {beside['torch']}, tensors in and out, the same engine in {beside['backend']}:",
        "",
        *markdown(
            head,
            [
                *(_times(name, beside, batches) for name in beside[batches[0]] if name.startswith(("torch", "ours"))),
                *(
                    [
                        f"ours is faster than {name}",
                        *(f"{beside[batch][f'times {name}']:.1f} times" for batch in batches),
                    ]
                    for name in ("eager fp16", "eager fp16, channels last")
                ),
            ],
        ),
        "",
        "torch.compile by itself, the sizes one after the other in one process. Ultralytics' `make_anchors` reads a value out of a",
        "tensor, which breaks the graph; torch.compile then reached its recompile limit, so that parts stayed eager:",
        "",
        *markdown(head, [_times(name, compiled, batches) for name in compiled[batches[0]] if name.endswith("fp16")]),
    ]
    return section("The latency of an engine", "gpu_yolov5", lines, None)


def _times(name: str, kept: dict[str, Any], batches: Sequence[str]) -> list[str]:
    found = [kept[batch][name] for batch in batches]
    return [name, *(" / ".join(f"{one[percentile]:.0f}" for percentile in ("p50", "p90", "p99")) for one in found)]


def timing_cache() -> list[str]:
    kept = read("gpu_yolov5")["timing_cache"]
    lines = [
        f"The engine above took {kept['first_seconds']:.0f} s to build at optimization level {kept['level']} on one {kept['gpu']}, "
        f"and {kept['second_seconds']:.0f} s",
        f"from the timing cache: {kept['ratio']:.2f} of it.",
    ]
    return section("A second build", "gpu_yolov5", lines, None)


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
    found = kept["machine"]
    versions = [f"{name} {version}" for name, version in found.items() if name not in NOT_MACHINE]
    place = f"{found['cores']} cores of an {found['cpu']}"
    return f"{place}, Python {found['python']}, {', '.join(versions)}, {found['date']}"
