"""mAP of the DETR fixture on held-out images: mmdet's own pipeline, two ways to resize images to one size, backends, batches.

::

    python -m benchmarks.detr.map --images 200      results/detr_map.json

Three pipelines are mmdet's own: single images that keep their aspect ratio, so the tensor has the size of the image; padded
to 256 x 256, as in a batch with another image; resized to 256 x 256. ``stretched`` is the adapter's default, ``masked`` is
``--set padding=mask``. The fixture was trained only on tensors of 256 x 256, which is why the first pipeline scores low.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.fixture_scores import FIXTURES, HALF, count_of_images, keep_scores, scratch, through_backends
from benchmarks.common.results import machine, use_fixtures

FIXTURE = FIXTURES / "detr_shapes.pth"
WAYS = {"stretched": {}, "masked": {"padding": "mask"}}


MMDET = {
    "mmdet, as large as the image": {},
    "mmdet, padded": {"size": (256, 256)},
    "mmdet, resized": {"size": (256, 256), "stretch": True},
}


def mmdet_scores(data: Path, **given: Any) -> dict[str, float]:
    """mmdet's ``test_step`` with the config's pipeline, counted as ``adaptrt evaluate`` counts."""
    from adaptrt import Conversion, InputSpec, ModelSpec, Request
    from adaptrt.tasks.detect.coco import read_coco
    from adaptrt.tasks.detect.scoring import BoxScores
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
    images = count_of_images(__doc__, 200)
    use_fixtures()
    from draw_shapes import write_detection_set
    from train_detr import HELD_OUT_SEED, LOOK

    import adaptrt

    result: dict[str, Any] = {
        "machine": machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "onnxruntime", "faster-coco-eval"),
        "images": images,
        "seed": HELD_OUT_SEED,
        "scores": {},
    }
    with scratch() as folder:
        data = write_detection_set(folder, images, HELD_OUT_SEED, LOOK, suffix=".png").parent
        for name, given in MMDET.items():
            result["scores"][name] = mmdet_scores(data, **given)
        for way, given in WAYS.items():
            path = folder / f"{way}.onnx"
            report = adaptrt.convert(
                FIXTURE, adapter="detr", output=path, options=given, verify="quick", html=False, **HALF
            )
            for name, one in through_backends(path, data, report):
                result["scores"][f"{way} {name}"] = one.scores
    keep_scores("detr_map", result)


if __name__ == "__main__":
    main()
