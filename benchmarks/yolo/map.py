"""mAP of the YOLOv5 fixture on held-out images with every backend, at batch 1 and 8.

::

    python -m benchmarks.yolo.map --images 200      results/yolov5_map.json
"""

from __future__ import annotations

from typing import Any

from benchmarks.common.fixture_scores import FIXTURES, HALF, count_of_images, keep_scores, scratch, through_backends
from benchmarks.common.results import machine, use_fixtures

FIXTURE = FIXTURES / "yolov5n_shapes.pt"


def main() -> None:
    images = count_of_images(__doc__, 200)
    use_fixtures()
    from draw_shapes import DETECTION, write_detection_set
    from evaluate_yolov5n import HELD_OUT_SEED

    import adaptrt

    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-ultralytics", "ultralytics", "torch", "onnxruntime", "faster-coco-eval"),
        "images": images,
        "seed": HELD_OUT_SEED,
        "scores": {},
    }
    with scratch() as folder:
        data = write_detection_set(folder, images, HELD_OUT_SEED, DETECTION).parent
        report = adaptrt.convert(
            FIXTURE, adapter="yolov5", output=folder / "out.onnx", verify="quick", html=False, **HALF
        )
        for name, one in through_backends(folder / "out.onnx", data, report):
            result["scores"][name] = one.scores
    keep_scores("yolov5_map", result)


if __name__ == "__main__":
    main()
