"""Links 0 and 5: images in which the reference itself finds something else after one rounding error prove nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from adaptrt import (
    DecoderSpec,
    ImageTransform,
    InputSpec,
    ModelSpec,
    OutputGroup,
    OutputSpec,
    VerificationError,
)
from adaptrt.pipeline.verification.image_links import ImageLinks
from adaptrt.pipeline.verification.verify import Verification
from adaptrt.report import Link
from adaptrt.specs import precision_named, task_named
from adaptrt.specs.precisions import FP32
from adaptrt.vision.decoders.decode import decode
from adaptrt.vision.transforms import transform_image

SPEC = ModelSpec(
    (InputSpec.image(8, 8),),
    tuple(OutputSpec(name, groups=(OutputGroup(name, "values", rank_sensitive=True),)) for name in ("boxes", "scores")),
    task="detect",
    image=ImageTransform(resize="stretch", stride=1),
    decoder=DecoderSpec("box_scores", {"conf": 0.25}),
    labels=("a",),
)
FIRM = replace(SPEC, outputs=tuple(OutputSpec(name) for name in ("boxes", "scores")))
STABLE, UNSTABLE = 40, 200
"""Gray images; the reference amplifies rounding errors of bright ones."""


class Network:
    """Four boxes, one of which has no stable place in a bright image; ``lost`` of them are missing, ``rounded`` sums in another order."""

    backend = "eager"

    def __init__(self, *, rounded: bool = False, lost: Mapping[str, int] | None = None) -> None:
        self.rounded, self.lost = rounded, lost or {}

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        images = inputs["images"]
        bright = bool(images.mean() > 0.5)
        boxes = np.array([[[2 * one, 0, 2 * one + 1.5, 6] for one in range(4)]], np.float32)
        if bright:
            moved = images * np.float32(1 + 2e-7) if self.rounded else images
            boxes[0, 0, 3] -= np.float32(4 * np.modf(moved.astype(np.float64).sum() * 1e5)[0])
        scores = np.array([[[0.9], [0.8], [0.7], [0.6]]], np.float32)
        lost = self.lost.get("bright" if bright else "dark", 0)
        scores[0, 4 - lost :] = 0
        return {"boxes": boxes, "scores": scores}


def compared(tmp_path: Path, grays: list[int], converted: Network, spec: ModelSpec = SPEC) -> tuple[Verification, Link]:
    hooks = SimpleNamespace(
        preprocess=lambda image, spec: _prepared(image, spec),
        postprocess=lambda outputs, metas, spec: decode(outputs, metas, spec),
    )
    job: Any = SimpleNamespace(hooks=hooks, report=SimpleNamespace(images=[]))
    links = ImageLinks(job=job, reference=Network(), spec=spec)  # type: ignore[arg-type]
    paths = [tmp_path / f"{gray}.png" for gray in grays]
    for path, gray in zip(paths, grays, strict=True):
        cv2.imwrite(str(path), np.full((8, 8, 3), gray, np.uint8))
    expected = [links.predictions(links.reference, spec, path, "eager") for path in paths]
    actual = [links.predictions(converted, spec, path, "onnxruntime") for path in paths]  # type: ignore[arg-type]
    metrics = task_named("detect").metrics(spec, FP32)
    return links.compare(metrics, paths, expected, actual, spec, expected), Link(5, "predictions")


def _prepared(image: Any, spec: ModelSpec) -> Any:
    assert spec.image is not None
    array, meta = transform_image(image, spec.image, spec.image_size)
    return {"images": array[None] if array.ndim == 3 else array}, meta


def test_an_unstable_image_is_skipped_and_reported(tmp_path: Path) -> None:
    found, link = compared(tmp_path, [UNSTABLE, STABLE], Network(rounded=True))
    found.record(link)
    assert link.status == "passed"
    assert [check.samples for check in link.checks] == [1]
    assert link.reason.startswith("1 image skipped: perturbing the input by one rounding error changes matched boxes")


def test_without_other_images_the_link_did_not_run(tmp_path: Path) -> None:
    found, link = compared(tmp_path, [UNSTABLE], Network(rounded=True))
    found.record(link)
    assert link.status == "not run"
    assert link.reason.startswith("every image skipped")


@pytest.mark.parametrize(
    ("gray", "lost"),
    [(STABLE, {"dark": 1}), (UNSTABLE, {"bright": 3})],
    ids=["a stable image", "more than rounding changes"],
)
def test_an_error_fails(tmp_path: Path, gray: int, lost: dict[str, int]) -> None:
    found, link = compared(tmp_path, [gray], Network(rounded=True, lost=lost))
    with pytest.raises(VerificationError, match="matched boxes"):
        found.record(link)
    assert link.status == "failed"


def test_outputs_that_do_not_depend_on_ranks_fail(tmp_path: Path) -> None:
    """There, link 2 compares every sample."""
    found, link = compared(tmp_path, [UNSTABLE], Network(rounded=True), FIRM)
    with pytest.raises(VerificationError, match="matched boxes"):
        found.record(link)


class Weak(Network):
    """One box that is hardly above the threshold, or none."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        found = super().run(inputs)
        found["scores"][:] = [[[self.score], [0], [0], [0]]]
        return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weak_objects_on_one_side_prove_nothing(tmp_path: Path, precision: str) -> None:
    """What the limits ignore leaves nothing to compare: a file that finds nothing at all would pass."""
    path, link, reasons = tmp_path / "a.png", Link(5, "predictions"), []
    cv2.imwrite(str(path), np.full((8, 8, 3), STABLE, np.uint8))
    kind = precision_named(precision)
    margin = kind.limits["score"] / 2
    hooks = SimpleNamespace(preprocess=_prepared, postprocess=decode)
    job: Any = SimpleNamespace(
        hooks=hooks,
        images=lambda: [path],
        timed=lambda *_, **__: nullcontext(SimpleNamespace(note="")),
        metrics=lambda spec, precision: task_named(spec.task).metrics(spec, precision),
        not_run=lambda number, reason: reasons.append((number, reason)),
        report=SimpleNamespace(images=[], link=lambda _: link),
    )

    def converted(score: float) -> None:
        job.runners = SimpleNamespace(open=lambda *_: Weak(score))
        job.request = None
        artifact: Any = SimpleNamespace(name="engine", precision=kind)
        ImageLinks(job=job, reference=Weak(0.25 + margin), spec=SPEC).compare_converted([artifact], SPEC)  # type: ignore[arg-type]

    converted(0.0)
    assert reasons == [(5, task_named("detect").empty_reason)]
    assert link.status == "not run"
    converted(0.25 + margin)
    assert link.status == "passed"
