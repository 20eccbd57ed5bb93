"""mAP of the YOLOv5 fixture on held-out pictures through every backend, at batch 1 and 8.

::

    python benchmarks/yolov5_map.py --pictures 200      results/yolov5_map.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import FOLDER, machine, table

ROOT = Path(__file__).parents[1]
FIXTURE = ROOT / "tests" / "fixtures" / "yolov5n_shapes.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    from draw_shapes import DETECTION, write_detection_set
    from evaluate_yolov5n import HELD_OUT_SEED

    import adaptrt
    from adaptrt.evaluation import evaluate

    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-ultralytics", "ultralytics", "torch", "onnxruntime", "faster-coco-eval"),
        "pictures": options.pictures,
        "seed": HELD_OUT_SEED,
        "scores": {},
    }
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["ADAPTRT_CACHE_DIR"] = text
        data = write_detection_set(folder, options.pictures, HELD_OUT_SEED, DETECTION).parent
        adaptrt.convert(FIXTURE, adapter="yolov5", output=folder / "out.onnx", verify="quick", html=False)
        for batch in (1, 8):
            found = evaluate([folder / "out.onnx"], data, backends=["eager", "onnxruntime"], batch=batch)
            for one in found.results:
                result["scores"][f"{one.backend} batch {batch}"] = one.scores
    (FOLDER / "yolov5_map.json").write_text(json.dumps(result, indent=2) + "\n")
    names = list(next(iter(result["scores"].values())))
    rows = [(name, *(round(100 * scores[key], 2) for key in names)) for name, scores in result["scores"].items()]
    table(("road", *names), rows)


if __name__ == "__main__":
    main()
