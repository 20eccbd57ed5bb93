"""The measurements page: every table is generated from benchmarks/results and names the script that measured it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from batch_measurements import batch_jobs
from benchmarks.common.results import markdown, read
from end_to_end import end_to_end
from gpu_peaks import gpu_peaks
from many_engines import many_engines
from nms_latency import completed, nms_latency
from sections import section
from starting import recognizing, startup

PLACES = ("static", "batch", "batch_hw")


def measurements_page() -> str:
    """Start-up, conversion, ONNX Runtime, per image, mAP, engines: exactness, latency, builds."""
    lines = [
        "<!-- Written by `make docs` out of benchmarks/results. Scripts that run on a CPU write there with --json keep; runs on GPUs were put together. -->",
        "# Measurements",
        "",
        "Unless a section says otherwise, values that are compared with each other were measured alternately, in one run, on one",
        "machine. Ratios carry over to other machines better than absolute times. The measurements of [Swin](../explanation/swin-patches.md) and",
        "[DETR](../explanation/detr-patches.md) are on the pages that explain their patches.",
    ]
    for part in (
        startup,
        recognizing,
        conversion,
        latency,
        lists,
        per_image,
        average_precision,
        engines,
        evaluated,
        engine_latency,
        end_to_end,
        many_engines,
        gpu_peaks,
        timing_cache,
        detectors,
        nms_latency,
        batch_jobs,
    ):
        found = part()
        lines += ["", *found] if found else []
    return "\n".join(lines) + "\n"


def conversion() -> list[str]:
    kept = read("convert_speed")
    names = {
        "converting": "adaptrt, converting",
        "proving": "adaptrt, verifying",
        "ultralytics": "Ultralytics' export, without verification",
    }
    nodes = {"converting": kept["nodes"]["ours"], "ultralytics": kept["nodes"]["theirs"]}
    rows = [
        [text, f"{kept['seconds'][key]['median']:.2f}", f"{kept['seconds'][key]['min']:.2f}", nodes.get(key, "")]
        for key, text in names.items()
    ]
    ratio = kept["ratio"]
    text = f"Converting takes {ratio['median']:.2f} times as long as Ultralytics' export ({ratio['min']:.2f} to {ratio['max']:.2f}, pairwise)."
    head = ["YOLOv5n to ONNX, dynamic batch, TorchScript", "seconds, median", "minimum", "nodes"]
    lines = section("Converting", "conversion/convert_speed", [*markdown(head, rows), "", text], kept)
    return [*lines, "", *conversion_before()]


def conversion_before() -> list[str]:
    """What the checks since 2026-11-25 cost, by stage."""
    kept = read("convert_before")
    now, before = kept["stages"]["now"], kept["stages"]["before"]
    more = {name: one["median"] - before.get(name, {"median": 0.0})["median"] for name, one in now.items()}
    rows = [
        [name, f"{before.get(name, {'median': 0.0})['median']:.2f}", f"{now[name]['median']:.2f}"]
        for name in sorted(more, key=lambda name: -more[name])
        if more[name] >= 0.02
    ]
    ratio = {kind: kept["now / before"][kind]["median"] for kind in ("whole", "converting", "verifying")}
    text = (
        f"With `--verify {kept['verify']}`, in turns with the version of 2026-11-25, a conversion takes {ratio['whole']:.2f} times "
        f"the CPU seconds of one thread: {ratio['converting']:.2f} for converting and {ratio['verifying']:.2f} for verifying. The "
        f"load average at the end of the run was {kept['load'][0]:.1f}. The stages that take at least 0.02 s more, in CPU seconds:"
    )
    return section("", "conversion/before", [text, "", *markdown(["stage", "before", "now"], rows)], kept)[2:]


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
    head = ["YOLOv5n 640, ONNX Runtime, one thread", "adaptrt, ms", "Ultralytics' file, ms", "ratio, pairwise"]
    return section("The ONNX file on a CPU", "inference/onnx_latency", markdown(head, rows), kept)


def lists() -> list[str]:
    kept = read("list_speed")
    rows = [
        [
            network,
            f"{one['model']['median']:.1f}",
            f"{one['parts']['median']:.1f}",
            f"{one['model / parts']['median']:.2f} ({one['model / parts']['min']:.2f} to {one['model / parts']['max']:.2f})",
        ]
        for network, one in kept["milliseconds"].items()
    ]
    head = ["network, images", "the model, ms", "its parts, ms", "ratio, pairwise"]
    said = [
        "The call of a loaded model with 8 images, which also decodes its outputs, beside `transform_batch` and ONNX Runtime's `session.run`, which do not",
        "(median, in turns). With YOLOv5n, where almost all of the time is the network's, the difference is within the noise of the run:",
        "",
    ]
    return section("A list of 8 images on a CPU", "inference/list_speed", [*said, *markdown(head, rows)], kept)


def per_image() -> list[str]:
    kept = read("preprocess_speed")
    rows = [[one["image"], " x ".join(map(str, one["size"])), *speeds(one)] for one in kept["rows"]]
    head = ["image", "height x width", "adaptrt, ms", "Ultralytics', ms", "ratio"]
    lines = section("Preprocessing per image", "inference/preprocess_speed", markdown(head, rows), kept)
    kept = read("decode_speed")
    rows = [
        [f"`{one['decoder']}`", " x ".join(map(str, one["shape"])), one["candidates"], one["detections"], *speeds(one)]
        for one in kept["rows"]
    ]
    head = ["decoder", "output", "candidates", "boxes", "adaptrt, ms", "Ultralytics', ms", "ratio"]
    return [*lines, "", *section("Decoding per image", "inference/decode_speed", markdown(head, rows), kept)]


def speeds(one: dict[str, Any]) -> list[str]:
    return [f"{one['adaptrt_ms']:.2f}", f"{one['ultralytics_ms']:.2f}", f"{one['ratio']:.2f}"]


def average_precision() -> list[str]:
    kept = read("yolov5_map")
    names = list(next(iter(kept["scores"].values())))
    rows = [[name, *(f"{100 * one[key]:.2f}" for key in names)] for name, one in kept["scores"].items()]
    text = f"The trained YOLOv5n on {kept['images']} drawn images that it was not trained on."
    if any("fp16" in name for name in kept["scores"]):
        text += " fp16 is the half-precision graph that\nTensorRT 10 and later use; ONNX Runtime [computes part of it in float32](../explanation/precision.md#link-3)."
    return section("mAP before and after", "yolo/map", [text, "", *markdown(["backend", *names], rows)], kept)


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
        "17, optimization level 0 (fp32) and 1 (fp16), without cuBLAS and cuDNN tactics. Each cell compares the engine with eager",
        "torch in float32: the largest distance between boxes, the largest score difference, and the number of detections that have",
        "a match (IoU of at least 0.99 in fp32, 0.9 in fp16). Images were run at the smallest, the optimal, and the largest shape of",
        "the profile (at most batch 32 and 960 x 960). Detections with a score of at least 0.25 are counted, or 0.01 for the",
        "checkpoint of the repository, which detects helmets and vests.",
        "",
        *markdown(["YOLOv5n", "static", "dynamic batch", "dynamic batch, height, width"], rows),
        "",
        "mAP50-95 of the package's checkpoint on drawn images (PNG; the images above are JPEG), in points:",
        "",
        *markdown(
            ["engine", "mAP50-95", "mAP50"],
            [
                [f"`{name}`", f"{100 * one['mAP50-95']:.2f}", f"{100 * one['mAP50']:.2f}"]
                for name, one in kept["map"].items()
            ],
        ),
        "",
        "The next table shows [the precision report](../explanation/precision.md#the-precision-report) of each half-precision engine,",
        "including those of Swin and DETR (`benchmarks/swin/gpu.py`, `benchmarks/detr/gpu.py`). *Opaque* is the share of the weights in",
        "parts that TensorRT does not show. *Size* is the size of the plan relative to the float32 weights; a plan also contains",
        "kernels, and a version-compatible plan contains a runtime:",
        "",
        *markdown(["engine", "evidence", "opaque", "size", "GPU"], receipts()),
    ]
    return section("Engines", "yolo/gpu", lines, None)


PRECISION_REPORTS = {
    "swin_gpu": {"swin_tiny": "tiny_gather", "swin_small": "small_gather", "swin_base": "base_gather"},
    "gpu_detr": {"detr_r50": "r50", "detr_shapes": "shapes"},
}
"""Engines of the other models, and the name of their graph: file, row, graph."""


def receipts() -> list[list[Any]]:
    """Precision reports of all half-precision engines that were built without ``--keep-fp32``."""
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
    """The scores of ``adaptrt evaluate`` for each backend."""
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
        f"The trained fixtures were evaluated with `adaptrt evaluate`, in one process with torch, on one {kept['built_and_run_on']['gpu']}.",
        "Eager and ONNX Runtime ran on the CPU; the engines of TensorRT 8.6 (version-compatible, optimization level 0 in fp32 and 1 in",
        "fp16) ran in the lean runtime of 10.16. Each row is the result of a command like the following:",
        "",
        "```text",
        example.replace(" --json", ""),
        "```",
        "",
        "The command fails if any score of the engine is more than `--max-loss` points below the eager score. (Since these",
        "measurements, the eager model must also be specified on the command line:",
        "`--adapter detr --source detr_shapes.py --weights detr_shapes.pth`.)",
        "",
        *markdown(["fixture", "images", "score", "engine", "batch", "eager", "ONNX Runtime", "TensorRT"], rows),
    ]
    return section("Every backend, side by side", "gpu/evaluate", lines, None)


def engine_latency() -> list[str]:
    """Two runs on one machine: without torch next to the bare loop, and with torch in one process."""
    kept = read("gpu_yolov5")
    bare, beside, compiled = kept["latency"], kept["latency_torch"], kept["latency_compiled"]
    batches = [name for name in bare if name.startswith("batch")]
    head = ["", *batches]

    def ratio(name: str) -> list[str]:
        return [name, *(f"{bare[batch][name]:.2f}" for batch in batches)]

    lines = [
        f"YOLOv5n 640 x 640, fp16, batch 1 to 32, on one {bare['gpu']}, driver {bare['driver']}. Times are in microseconds from the",
        "call to the end of its work, p50 / p90 / p99, with data on the GPU unless the row says numpy. The bare loop is the minimum",
        "that cuda-python can do with the same engine: fixed addresses, one stream, no checks. The engine ran in",
        f"{bare['backend']}, without torch. It was built at optimization level {kept['timing_cache']['level']}, version-compatible, without cuBLAS and cuDNN",
        "tactics. *Ours* is an adaptrt call. *Graph* replays a CUDA graph; *enqueue* does not. *Borrowed* outputs are overwritten by",
        "the next call; *owned* outputs belong to the caller. *Inputs that move* are at a different address in each call; p99 is that of",
        "the few calls that captured a graph for them, which adaptrt [no longer does](#many-engines-in-one-process) where copying is faster:",
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
        f"The same engine in {beside['backend']}, in one process with torch {beside['torch']}, with tensors as inputs and outputs:",
        "",
        *markdown(
            head,
            [
                *(_times(name, beside, batches) for name in beside[batches[0]] if name.startswith(("torch", "ours"))),
                *(
                    [
                        f"speedup of adaptrt over {name}",
                        *(f"{beside[batch][f'times {name}']:.1f} times" for batch in batches),
                    ]
                    for name in ("eager fp16", "eager fp16, channels last")
                ),
            ],
        ),
        "",
        "torch.compile alone, with the sizes run one after the other in one process. Ultralytics' `make_anchors` reads a value from a",
        "tensor, which causes a graph break; torch.compile then reached its recompile limit, so parts of the model stayed eager:",
        "",
        *markdown(head, [_times(name, compiled, batches) for name in compiled[batches[0]] if name.endswith("fp16")]),
    ]
    return section("The latency of an engine", "yolo/gpu", lines, None)


def _times(name: str, kept: dict[str, Any], batches: Sequence[str]) -> list[str]:
    found = [kept[batch][name] for batch in batches]
    return [name, *(" / ".join(f"{one[percentile]:.0f}" for percentile in ("p50", "p90", "p99")) for one in found)]


def timing_cache() -> list[str]:
    kept = read("gpu_yolov5")["timing_cache"]
    lines = [
        f"The engine above took {kept['first_seconds']:.0f} s to build at optimization level {kept['level']} on one {kept['gpu']}, "
        f"and {kept['second_seconds']:.0f} s",
        f"with the timing cache (ratio {kept['ratio']:.2f}).",
    ]
    return section("A second build", "yolo/gpu", lines, None)


def detectors() -> list[str]:
    """A row for each detector and precision: verdict, score, and latency beside eager."""
    kept = read("gpu_detectors")
    rows, partly = [], []
    for key in sorted(name for name in kept if name.startswith("failed_") and not name.startswith("failed_evaluate_")):
        model, _, precision = key.removeprefix("failed_").rpartition("_")
        reason = re.search(r"Error: (.*)", kept[key]["error"])
        partly.append(f"`{model}` ({precision}) failed: {reason[1] if reason else kept[key]['error'].strip()[-300:]}")
    for key in sorted(name for name in kept if name.startswith("convert_")):
        name, one = key.removeprefix("convert_"), kept[key]
        model, _, precision = name.rpartition("_")
        word = one["verdict"]["word"]
        if one["verdict"]["missing"]:
            partly.append(f"`{model}` ({precision}): {'; '.join(one['verdict']['missing'])}.")
        scored = kept.get(f"evaluate_{name}")
        scores = ["", ""]
        if scored:
            score = next(iter(scored["results"][0]["scores"]))
            scores = [f"{100 * result['scores'][score]:.2f}" for result in scored["results"]]
            scores[0] = f"{score} {scores[0]}"
        timed = kept.get(f"time_{name}")
        times = [_with_eager(timed[f"batch {batch}"]) if timed else "not measured" for batch in (1, 8, 32)]
        card = one["gpu"].removeprefix("NVIDIA ").split()[0]
        rows.append([model, precision, one["level"], card, word, *scores, *times])
    rows = completed(rows)
    built = kept["convert_segment_fp32"]
    lines = [
        "YOLOv5n at 640 x 640 with the trained heads of tests/fixtures, one engine with batches 1 to 32 for each row",
        f"(TensorRT {built['tensorrt']}, tactic sources {built['tactic_sources']}). The verdict is that of the conversion: links 0, 1, 2, 4 and 5 against eager.",
        "Scores of eager and the engine are on 64 held-out images. Times are microseconds (p50) of one call on images in device memory, with the",
        "ratio to eager in the same precision (float32 without TF32). Engines of level 0 are not tuned for speed.",
        "mask_rcnn is the trained Mask R-CNN of tests/fixtures, faster_rcnn the same without masks. retinanet and deformable_detr (with 2 of",
        "6 layers in its encoder and decoder) have perturbed random weights, so they have no score. The times of engines that",
        "end in NMS (detect_nms: `--nms`, detect_nms_efficient, detect_nms_onnx) are those of [NMS in the graph](#nms-in-the-graph).",
        "",
        *markdown(
            ["model", "precision", "level", "GPU", "verdict", "eager", "engine", "batch 1", "batch 8", "batch 32"], rows
        ),
        "",
        *(f"- {line}" for line in partly),
        "- TensorRT 8.6's parser loads `libnvinfer_vc_plugin.so.8` for RoIAlign. The Python wheel lacks this library; a link of that name to",
        "  `libnvinfer_plugin.so.8` is enough, because that library registers the plugin.",
    ]
    return section("Detectors of every task", "detectors/gpu", lines, None)


def _with_eager(one: dict[str, Any]) -> str:
    engine = f"{one['engine']['p50']:.0f}"
    return f"{engine} ({one['times eager']:.1f} x)" if "times eager" in one else engine


def agreement(engine: dict[str, Any]) -> str:
    """The worst values over all shapes that an engine was run at."""
    shapes = [engine[size] for size in ("min", "opt", "max") if size in engine]
    box = max(one["box_px_detections"] for one in shapes)
    score = max(one["score_detections"] for one in shapes)
    paired, found = (sum(one[key] for one in shapes) for key in ("paired", "detections"))
    return f"{box:.2g} px, {score:.1g}, {paired} of {found}"
