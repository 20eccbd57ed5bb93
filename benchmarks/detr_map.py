"""mAP of the DETR fixture on held-out pictures: mmdet's own road, the two ways to bring pictures to one size, backends, batches.

::

    python benchmarks/detr_map.py --pictures 200      results/detr_map.json

Three roads are mmdet's own: a picture alone, its ratio kept, so that the tensor has the picture's size; padded to 256 x
256, as beside another picture in a batch; resized to 256 x 256. ``stretched`` is the adapter's default, ``masked`` is
``--set padding=mask``. The fixture has seen tensors of 256 x 256 alone, which is why the first road does badly.
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
FIXTURE = ROOT / "tests" / "fixtures" / "detr_shapes.pth"
WAYS = {"stretched": {}, "masked": {"padding": "mask"}}


MMDET = {
    "mmdet, as large as the picture": {},
    "mmdet, padded": {"size": (256, 256)},
    "mmdet, resized": {"size": (256, 256), "stretch": True},
}


def mmdet_scores(data: Path, **given: Any) -> dict[str, float]:
    """mmdet's ``test_step`` with the config's pipeline, counted as ``adaptrt evaluate`` counts."""
    from adaptrt import Conversion, InputSpec, ModelSpec, Request
    from adaptrt.evaluation.coco import read_coco
    from adaptrt.evaluation.detection import BoxScores
    from adaptrt_mmdet.framework import predict
    from adaptrt_mmdet.options import DetrOptions
    from adaptrt_mmdet.sources import open_source

    source = open_source(Conversion(Request(str(FIXTURE), "detr"), DetrOptions(), data))
    labels = source.checkpoint.labels if source.checkpoint else ()
    dataset = read_coco(data, ModelSpec((InputSpec.image(256, 256),), labels=labels), None)
    scorer = BoxScores(dataset.context)
    found = predict(source, [example.path for example in dataset.examples], **given)
    for example, one in zip(dataset.examples, found, strict=True):
        scorer.add(example.truth, one)
    return scorer.scores()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "fixtures"))
    from draw_shapes import write_detection_set
    from train_detr import HELD_OUT_SEED, LOOK

    import adaptrt
    from adaptrt.evaluation import evaluate

    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "onnxruntime", "faster-coco-eval"),
        "pictures": options.pictures,
        "seed": HELD_OUT_SEED,
        "scores": {},
    }
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["ADAPTRT_CACHE_DIR"] = text
        data = write_detection_set(folder, options.pictures, HELD_OUT_SEED, LOOK, suffix=".png").parent
        for name, given in MMDET.items():
            result["scores"][name] = mmdet_scores(data, **given)
        for way, given in WAYS.items():
            path = folder / f"{way}.onnx"
            adaptrt.convert(FIXTURE, adapter="detr", output=path, options=given, verify="quick", html=False)
            for batch in (1, 8):
                found = evaluate([path], data, backends=["eager", "onnxruntime"], batch=batch)
                for one in found.results:
                    result["scores"][f"{way} {one.backend} batch {batch}"] = one.scores
    (FOLDER / "detr_map.json").write_text(json.dumps(result, indent=2) + "\n")
    names = list(next(iter(result["scores"].values())))
    rows = [(name, *(round(100 * scores[key], 2) for key in names)) for name, scores in result["scores"].items()]
    table(("road", *names), rows)


if __name__ == "__main__":
    main()
