"""Classic ``-seg`` and ``-cls`` checkpoints: rebuilt, compared with the repository that made them, and converted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs the package ultralytics")

import classic_repository  # noqa: E402
import numpy as np  # noqa: E402

import adaptrt  # noqa: E402
from adaptrt import Conversion, Request, ShapeRequest  # noqa: E402
from adaptrt.errors import CheckpointError  # noqa: E402
from adaptrt.specs import precision_named, task_named  # noqa: E402
from adaptrt_ultralytics import yolov5  # noqa: E402
from adaptrt_ultralytics.classic.model import load_classic  # noqa: E402
from adaptrt_ultralytics.options import Yolov5Options  # noqa: E402

SIZE, IMAGES, OBJECTS, CLASSES = 320, 4, 10, 3


@pytest.fixture
def repo(tmp_path: Path, classic: Any) -> Path:
    return classic_repository.write_repository(tmp_path / "repo", classic.homes)


@pytest.fixture
def crowded(tmp_path: Path) -> list[Path]:
    """Held-out images with many objects of every class."""
    import cv2
    import draw_shapes

    look = replace(draw_shapes.DETECTION, size=SIZE, objects=(15, 18), radius=(0.07, 0.14))
    paths = []
    for index in range(IMAGES):
        paths.append(tmp_path / f"crowded-{index}.png")
        cv2.imwrite(str(paths[-1]), draw_shapes.draw_detection_image(1002, index, look).image)
    return paths


def context(path: Path, repo: Path | None, folder: Path, size: int = SIZE, trust: bool = False) -> Conversion:
    shapes = ShapeRequest(imgsz=(size, size))
    request = Request(str(path), "yolov5", shapes=shapes, trust_checkpoint=trust)
    return Conversion(request, Yolov5Options(None if repo is None else str(repo)), folder)


def spec_of(ctx: Conversion, model: Any) -> adaptrt.ModelSpec:
    return ctx.request.shapes.apply(yolov5.model_spec(ctx, model))[0]


def test_a_segmenter_computes_what_made_it(classic: Any) -> None:
    made = classic.trained_segmenter()
    rebuilt = load_classic(classic.save(classic.as_trained(made)))
    assert (rebuilt.task, rebuilt.nc) == ("segment", 4)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        rows, prototypes, _ = made.half().float()(images)
        found = rebuilt(images)
    assert found[0].shape == (2, 3 * (8 * 12 + 4 * 6 + 2 * 3), 5 + 4 + 32)
    torch.testing.assert_close(found[0], rows, atol=2e-3, rtol=1e-4)
    torch.testing.assert_close(found[1], prototypes, atol=1e-4, rtol=1e-4)


def test_a_classifier_computes_what_made_it(classic: Any, repo: Path, tmp_path: Path) -> None:
    """Also its image transform: the repository's own, on an image that is not square."""
    import cv2

    path = classic.save(classic.as_trained(classic.classifier(96)))
    ctx = context(path, repo, tmp_path, 96)
    model = yolov5.load_model(ctx)
    assert (model.task, model.size, model.names) == (
        "classify", (96, 96), dict(enumerate(["circle", "square", "triangle", "star"])),
    )  # fmt: skip
    images = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(model(images), classic.classifier(96).half().float()(images), atol=1e-5, rtol=1e-5)
    spec = spec_of(ctx, model)
    assert [output.name for output in spec.outputs] == ["output0"]
    assert (spec.task, spec.image_size) == ("classify", (96, 96))
    image = np.random.default_rng(3).integers(0, 256, (70, 131, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    theirs = yolov5.framework_predictions(ctx, tmp_path / "image.png", spec)
    from adaptrt.vision.decoders.decode import decode
    from adaptrt.vision.images import read_image
    from adaptrt.vision.transforms import transform_batch

    inputs, metas = transform_batch([read_image(tmp_path / "image.png")], spec)
    with torch.no_grad():
        outputs = {"output0": model(torch.from_numpy(inputs["images"])).numpy()}
    (ours,) = decode(outputs, metas, spec)
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    assert np.ptp(ours.scores) > 0.01


def test_a_head_with_other_code_is_refused(classic: Any) -> None:
    made = classic.trained_segmenter()
    made.model[-1].detect = torch.relu
    with pytest.raises(CheckpointError, match=r"Detect\.forward|torch"):
        load_classic(classic.save({"model": made}))
    made = classic.trained_segmenter()
    made.model[-1].nm = -1
    with pytest.raises(CheckpointError, match="number of prototypes"):
        load_classic(classic.save({"model": made}, "other.pt"))
    made = classic.trained_segmenter()
    made.model[-1].more = torch.ones(3)
    with pytest.raises(CheckpointError, match="more"):
        load_classic(classic.save({"model": made}, "more.pt"))


@pytest.mark.full
def test_a_segmenter_end_to_end(classic: Any, repo: Path, crowded: list[Path], tmp_path: Path) -> None:
    """Every link, the repository's own masks on four images, and mask mAP on held-out ones."""
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    import draw_shapes

    path = classic.save(classic.as_trained(classic.trained_segmenter()))
    file = tmp_path / "ours.onnx"
    report = adaptrt.convert(
        path,
        adapter="yolov5",
        output=file,
        imgsz=SIZE,
        batch=(1, 2, 3),
        image=crowded[0],
        html=False,
        options={"repo": str(repo)},
    )
    assert report.verdict is not None
    assert report.verdict.word == "verified", report.verdict.missing
    assert not {"Shape", "Gather", "Range", "Expand", "ScatterND", "NonZero"} & set(report.operators["final"])
    model = adaptrt.load(file)
    ours = list(model(crowded))
    ctx = context(path, repo, tmp_path)
    theirs = [yolov5.framework_predictions(ctx, image, model.spec) for image in crowded]
    for side in (ours, theirs):
        assert min(len(found) for found in side) >= OBJECTS
        assert len({int(label) for found in side for label in found.labels}) >= CLASSES
    for metric in task_named("segment").metrics(model.spec, precision_named("fp32")):
        assert metric.compute(theirs, ours) >= metric.minimum, metric.name
    look = replace(draw_shapes.DETECTION, size=SIZE, objects=(4, 9), radius=(0.06, 0.2))
    draw_shapes.write_detection_set(tmp_path / "data", 12, 1003, look)
    from adaptrt.evaluation import evaluate

    (result,) = evaluate([file], tmp_path / "data" / "instances.json").results
    assert result.scores["mask mAP50"] > 0.6, result.scores  # 0.76; a linear head on a frozen network


@pytest.mark.full
def test_a_segmenter_by_its_own_code(classic: Any, repo: Path, tmp_path: Path) -> None:
    """``--trust-checkpoint``: torch unpickles it, and the outputs are the same."""
    import sys

    made = classic.trained_segmenter()
    path = classic.save({"model": made})
    before, modules = list(sys.path), set(sys.modules)
    try:
        trusted = yolov5.load_model(context(path, repo, tmp_path, trust=True))
    finally:
        sys.path[:] = before
        for name in set(sys.modules) - modules:
            if name.partition(".")[0] in ("models", "utils"):
                del sys.modules[name]
    assert trusted.task == "segment"
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        rows, prototypes = trusted(images)
        torch.testing.assert_close((rows, prototypes), made(images)[:2])


@pytest.mark.full
@pytest.mark.parametrize("dynamic", [False, True])
def test_a_classifier_end_to_end(classic: Any, repo: Path, dynamic: bool, tmp_path: Path) -> None:
    import cv2

    image = np.random.default_rng(3).integers(0, 256, (70, 131, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    shape = {"shape": "images=1..3@2x3x64..96@96x64..96@96"} if dynamic else {"imgsz": 96, "batch": (1, 2, 3)}
    report = adaptrt.convert(
        classic.save(classic.as_trained(classic.classifier(96))),
        adapter="yolov5",
        output=tmp_path,
        image=tmp_path / "image.png",
        html=False,
        options={"repo": str(repo)},
        **shape,
    )
    assert [report.link(number).status for number in (0, 2, 5)] == ["passed"] * 3, report.links
    assert not {"Shape", "Gather", "Range", "Expand"} & set(report.operators["final"])
