"""Whole conversions, each link against mmdet's own predict, and --nms of two-stage detectors.

Heads that the full suite converts whole: those of DETR (test_detr_conversion.py), RetinaNet (test_dense.py), RTMDet-Ins
(test_dynamic_masks.py), and here SSD, Faster R-CNN and Mask R-CNN: six.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from draw_shapes import draw_detection_image
from train_mask_rcnn import CONFIG, FIXTURE, HELD_OUT_SEED, LOOK

import adaptrt
from adaptrt import Conversion, NmsRequest, Request, UsageError
from adaptrt.pipeline.reference import Origin, load_reference

for module in ("onnx", "onnxruntime"):
    pytest.importorskip(module, reason=f"a conversion needs {module}")

FORBIDDEN = {"NonMaxSuppression", "NonZero", "Loop", "If"}


@pytest.mark.full
@pytest.mark.parametrize("schema", ["converged", "efficient"])
def test_nms_of_two_stages_is_the_networks_own(schema: str, tmp_path: Path) -> None:
    """``--nms`` sets its rounds and its schema; every detection of the trained fixture is mmdet's."""
    import cv2

    from adaptrt.tasks.segment.agreement import mean_mask_iou
    from adaptrt_mmdet.framework import predict
    from adaptrt_mmdet.options import OneAndTwoStageOptions
    from adaptrt_mmdet.sources import open_source

    paths = []
    for index in range(4):
        paths.append(tmp_path / f"{index}.png")
        cv2.imwrite(str(paths[-1]), draw_detection_image(HELD_OUT_SEED, index, LOOK).image)
    report = adaptrt.convert(
        FIXTURE,
        adapter="mmdet",
        output=tmp_path / "out.onnx",
        image=paths[0],
        nms=NmsRequest(rounds=30, schema=schema),  # type: ignore[arg-type]
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert any("in 30 rounds" in note for note in report.notes)
    assert report.spec is not None
    names = [output.name for output in report.spec.outputs]
    assert ("nms_converged" in names) == (schema == "converged")
    source = open_source(Conversion(Request(str(FIXTURE), "mmdet"), OneAndTwoStageOptions(), tmp_path))
    theirs = [found.at(found.scores > 0.25) for found in predict(source, paths)]
    with adaptrt.load(tmp_path / "out.onnx") as model:
        ours: Any = model(paths, conf=0.25)
    assert min(map(len, theirs)) >= 2
    assert [len(found) for found in ours] == [len(found) for found in theirs]
    assert mean_mask_iou(0.99).compute(theirs, ours) >= 0.99


@pytest.mark.full
@pytest.mark.parametrize("batch", ["2", "1:2:2"])
def test_trained_faster_rcnn(batch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture without its masks: mmdet's own predict (link 0), alone and in a batch (link 2), as a static graph."""
    from types import SimpleNamespace

    import cv2

    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.detectors.gpu import CASES, source_of, weights_of
    from benchmarks.gpu.work import Work

    work: Any = Work(SimpleNamespace(work=tmp_path))  # type: ignore[arg-type]
    (case,) = (case for case in CASES if case.name == "faster_rcnn")
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), draw_detection_image(HELD_OUT_SEED, 0, LOOK).image)
    report = adaptrt.convert(
        source_of(work, case),
        adapter="mmdet",
        weights=weights_of(work, case),
        output=tmp_path / "out.onnx",
        image=image,
        batch=batch,
        verify="quick",
        html=False,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3
    assert report.link(2).reason == ("" if batch == "2" else "detections matched as sets; batch 2")
    assert report.spec is not None
    assert report.spec.outputs[0].dims == ((2, 1) if batch == "2" else ("batch", 1))
    assert not FORBIDDEN & set(report.operators["final"])
    assert len(report.images[0].predictions["framework"].data["scores"]) >= 5
    origin = Origin("mmdet", str(source_of(work, case)), weights=weights_of(work, case))
    (eager,), (ours,) = (
        model([image]) for model in (load_reference(tmp_path / "out.onnx", origin), adaptrt.load(tmp_path / "out.onnx"))
    )
    assert len(ours) >= 5
    np.testing.assert_allclose(eager.boxes, ours.boxes, atol=0.1)


def test_another_nms_of_two_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--nms onnx: the network itself ends in Cluster-NMS"):
        adaptrt.convert(CONFIG, adapter="mmdet", output=tmp_path / "o.onnx", nms="onnx", html=False)


@pytest.mark.full
def test_ssd_at_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 x 300: mmdet's predict (link 0), the graph alone and in batches (link 2), link 5."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    from benchmarks.detr.family import measure

    result = measure("SSD300", "torchscript")
    assert result["passed"], result
    assert result["boxes"] >= 5
