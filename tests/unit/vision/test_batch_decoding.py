"""Boxes of a whole batch, decoded at once: bit for bit those of one image after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adaptrt.specs import DecoderSpec, ImageTransform, InputSpec, ModelSpec, OutputSpec
from adaptrt.vision.decoders import efficient_nms, yolo, yolo_anchor
from adaptrt.vision.decoders.params import DetectionParams
from adaptrt.vision.placement import place


def raw_outputs(name: str, rng: np.random.Generator, images: int, boxes: int, classes: int) -> dict[str, Any]:
    places = rng.random((images, boxes, 2), np.float32) * np.float32(rng.choice([30, 100, 600]))
    corners = np.concatenate([places, rng.random((images, boxes, 2), np.float32) * 60], axis=2)
    scores = np.round(rng.random((images, boxes, classes)) * 8).astype(np.float32) / np.float32(8)  # many are equal
    factors = rng.random((images, boxes, 1), np.float32) ** np.float32(rng.choice([0.3, 4]))
    if rng.random() < 0.3:
        factors[0] = 0  # nothing is found
    if name == "yolo_anchor":
        return {"output0": np.concatenate([corners, factors, scores], axis=2)}
    if name == "yolo":
        return {"output0": np.concatenate([corners, scores * factors], axis=2).transpose(0, 2, 1).copy()}
    counts = rng.integers(0, boxes + 1, (images, 1), np.int32)
    labels = rng.integers(0, classes, (images, boxes), np.int32)
    return {"num_dets": counts, "det_boxes": corners, "det_scores": scores[..., 0], "det_classes": labels}


def random_params(name: str, rng: np.random.Generator) -> DetectionParams:
    nms: dict[str, Any] = {"iou": rng.choice([None, 0.0, 0.3, 0.7, 1.0]), "agnostic": bool(rng.random() < 0.3)}
    kind = efficient_nms.EfficientNmsParams if name == "efficient_nms" else DetectionParams
    return kind(
        conf=float(rng.choice([0.05, 0.25, 0.9])),
        max_det=int(rng.choice([1, 5, 300])),
        classes=None if rng.random() < 0.7 else (0,),
        **({} if name == "efficient_nms" else nms),
    )


@pytest.mark.parametrize("module", [yolo, yolo_anchor, efficient_nms])
def test_equal_to_one_image_after_another(module: Any) -> None:
    rng, decoder, found = np.random.default_rng(0), module.decoder, 0
    for _ in range(60):
        images, classes = int(rng.integers(1, 7)), int(rng.integers(1, 5))
        outputs = raw_outputs(decoder.name, rng, images, int(rng.choice([3, 40, 150, 300])), classes)
        spec = ModelSpec(
            inputs=(InputSpec.image(64, 64),),
            outputs=tuple(OutputSpec(name, ("batch",)) for name in outputs),
            task="detect",
            image=ImageTransform(),
            decoder=DecoderSpec(decoder.name),
            labels=tuple("abcd"[:classes]),
        )
        sizes = rng.integers(10, 900, (images, 2)) if rng.random() < 0.7 else np.full((images, 2), 50)
        metas = [place((int(height), int(width)), ImageTransform(), (64, 64)).meta for height, width in sizes]
        if len({*metas}) == 1:
            metas = metas[:1] * images
        params = random_params(decoder.name, rng)
        at_once = decoder.decode(outputs, metas, spec, params)
        single = replace(decoder.decode, batched=None)(outputs, metas, spec, params)
        for one, other in zip(at_once, single, strict=True):
            for column in ("boxes", "scores", "labels"):
                np.testing.assert_array_equal(getattr(one, column), getattr(other, column), strict=True)
            found += len(one)
    assert found > 1000
