"""Latency of NMS in the graph on TensorRT: the kinds of ``--nms`` beside the engine without, in turns on the same images.

::

    python -m benchmarks.detectors.nms_latency --work build/nms              on a machine with a GPU, TensorRT and torch
    python -m benchmarks.detectors.nms_latency report --keep --work build/nms

The trained YOLOv5n is converted without NMS and with each kind, compared with eager torch, and timed on drawn images in device memory.
Every result is written to the work folder at once, and a second call goes on with what is missing. A kind that cannot be built
is a result too.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.fixture_scores import FIXTURES
from benchmarks.common.results import use_fixtures
from benchmarks.gpu.evaluate import adaptrt, words_of
from benchmarks.gpu.timing import in_turns
from benchmarks.gpu.work import Work, collected, say, torch_facts

KINDS = ("none", "cluster", "efficient", "onnx")
BATCHES = (1, 8, 32)
RESULT = "nms_latency"
TACTICS = "EDGE_MASK_CONVOLUTIONS,JIT_CONVOLUTIONS"
SEED, IMAGES = 1003, 32
ROUNDS = 10


def images_of(size: tuple[int, int]) -> np.ndarray:
    """float32 [32, 3, H, W]: drawn images with objects, on which NMS has something to do."""
    import cv2

    use_fixtures()
    from draw_shapes import draw_detection_image

    found = [cv2.resize(draw_detection_image(SEED, index).image, size[::-1]) for index in range(IMAGES)]
    return np.stack(found)[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32) / 255


def convert(work: Work, kind: str, image: Path) -> None:
    """One engine, verified; its result is kept, or the reason why there is none."""
    name = f"{kind}_{work.options.precision}"
    if work.engine(name).exists() or work.kept(f"convert_{name}"):
        return
    words: list[object] = ["convert", FIXTURES / "yolov5n_shapes.pt", "--adapter", "yolov5"]
    words += ["-o", work.engine(name), "--to", "onnx,engine", "--precision", work.options.precision]
    words += ["--batch", "1:8:32", "--exporter", "torchscript", "--opset", "17", "--target", "8", "--image", image]
    words += ["--opt-level", work.options.level, "--tactic-sources", TACTICS, "--workspace", "4", "--verify", "quick"]
    words += ["--json"] if kind == "none" else ["--nms", kind, "--json"]
    try:
        report = json.loads(adaptrt(work, name, words))
    except SystemExit as error:
        work.keep(f"convert_{name}", {"command": words_of(words), "failed": str(error)[-600:]})
        say(f"FAILED {name}: {str(error)[-600:]}")
        return
    links = {str(link["number"]): link["status"] for link in report["links"]}
    stages = {stage["name"]: round(stage["seconds"], 1) for stage in report["stages"]}
    work.keep(
        f"convert_{name}",
        {
            "command": words_of(words),
            "verdict": report["verdict"] and report["verdict"]["word"],
            "links": links,
            "stages": stages,
        },
    )
    say(f"converted {name}: {report['verdict'] and report['verdict']['word']}")


def time_kinds(work: Work) -> None:
    """Microseconds of one call, to the end of its work on the GPU, for every kind that has an engine, in turns."""
    import torch

    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    precision = work.options.precision
    runners = {
        kind: TensorRTRunner(work.engine(f"{kind}_{precision}"))
        for kind in KINDS
        if work.engine(f"{kind}_{precision}").exists()
    }
    first = next(iter(runners.values()))
    spec = first.spec
    assert spec is not None
    drawn = torch.from_numpy(images_of(spec.image_size)).cuda()
    for batch in BATCHES:
        if work.kept(f"time_{precision}_{batch}"):
            continue
        images = drawn[:batch].contiguous()
        counts = {}
        for kind, runner in runners.items():
            outputs = runner({"images": images}, outputs="borrowed")
            if "num_dets" in outputs:
                counts[kind] = float(outputs["num_dets"].numpy().mean())

        def call(runner: Any, images: Any = images) -> None:
            for value in runner({"images": images}, outputs="borrowed").values():
                value.synchronize()

        sides = {kind: (lambda runner=runner: call(runner)) for kind, runner in runners.items()}
        found = in_turns(sides, rounds=ROUNDS)
        result = {
            **torch_facts(),
            "backend": first.backend,
            "size": list(spec.image_size),
            "level": work.options.level,
            "tactic_sources": TACTICS,
            "detections": counts,
        }
        work.keep(f"time_{precision}_{batch}", {**result, "kinds": found})
        say(f"{precision} batch {batch}: { {kind: one['p50'] for kind, one in found.items()} }; detections {counts}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", nargs="*", default=["convert", "time"], help="convert, time, report")
    parser.add_argument("--keep", action="store_true", help="report: write to benchmarks/results")
    parser.add_argument("--work", type=Path, default=Path("build/nms"))
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16"])
    parser.add_argument("--level", type=int, default=0, help="optimization level of the engines")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--jobs", type=int, default=3, help="number of parallel builds")
    work = Work(parser.parse_args())
    if "convert" in work.options.stage:
        image = work.folder / "image.png"
        write_image(image)
        with ThreadPoolExecutor(work.options.jobs) as threads:
            list(threads.map(lambda kind: convert(work, kind, image), work.options.kinds.split(",")))
    if "time" in work.options.stage:
        time_kinds(work)
    if "report" in work.options.stage:
        say(f"written: {work.write(RESULT, collected(work))}")


def write_image(path: Path) -> None:
    import cv2

    use_fixtures()
    from draw_shapes import draw_detection_image

    cv2.imwrite(str(path), draw_detection_image(SEED, 0).image)


if __name__ == "__main__":
    main()
