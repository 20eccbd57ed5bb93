"""mAP of boxes: annotations, classes, COCO's numbers and VOC's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import Detections, InputSpec, ModelSpec, UsageError
from adaptrt.tasks.detect.average_precision import voc_average_precisions
from adaptrt.tasks.detect.coco import CocoTruth, read_coco
from adaptrt.tasks.detect.scoring import BoxScores, BoxScoring

LABELS = ("circle", "square", "triangle", "star")
SPEC = ModelSpec((InputSpec.image(32, 32),), task="detect", labels=LABELS)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images and ``instances.json``, whose category ids start at 1."""
    pytest.importorskip("cv2", reason="images need OpenCV")
    from draw_shapes import DETECTION, write_detection_set

    return write_detection_set(tmp_path_factory.mktemp("shapes"), 6, 5, DETECTION).parent


def changed(folder: Path, tmp_path: Path, **parts: Any) -> Path:
    document = json.loads((folder / "instances.json").read_text())
    path = tmp_path / "changed.json"
    path.write_text(json.dumps({**document, **parts}))
    return path


def detections(entries: list[dict[str, Any]], shift: float = 0.0, seed: int = 0) -> Detections:
    """The annotations as a detector that is off by ``shift`` pixels would give them."""
    rng = np.random.default_rng(seed)
    boxes = np.array([entry["bbox"] for entry in entries], np.float32).reshape(-1, 4)
    boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) + np.float32(shift)
    labels = np.array([entry["category_id"] - 1 for entry in entries], np.int64)
    return Detections(boxes, rng.uniform(0.3, 1, len(boxes)).astype(np.float32), labels, LABELS)


def by_image(document: dict[str, Any]) -> dict[Any, list[dict[str, Any]]]:
    return {
        image["id"]: [entry for entry in document["annotations"] if entry["image_id"] == image["id"]]
        for image in document["images"]
    }


def test_annotations_are_found_and_matched_by_name(shapes: Path, tmp_path: Path) -> None:
    for data, images in ((shapes / "instances.json", None), (shapes, None), (shapes, shapes / "images")):
        dataset = read_coco(data, SPEC, images)
        assert len(dataset.examples) == 6
        assert dataset.context.categories == (1, 2, 3, 4)
        assert not dataset.notes
    names = ["Star", "square", "nothing", "triangle", "circle"]
    categories = [{"id": 10 * number, "name": name} for number, name in enumerate(names)]
    dataset = read_coco(changed(shapes, tmp_path, categories=categories, annotations=[]), SPEC, shapes / "images")
    assert dataset.context.categories == (40, 10, 30, 0)
    assert dataset.notes == (
        "not among the model's classes, skipped: nothing",
        "no object of the model's classes is labeled: all scores are 0",
    )
    categories = [{"id": number, "name": f"class{number}"} for number in (7, 3, 5, 1)]
    dataset = read_coco(changed(shapes, tmp_path, categories=categories, annotations=[]), SPEC, shapes / "images")
    assert dataset.context.categories == (1, 3, 5, 7)
    assert "in order of category ids" in dataset.notes[0]


def test_images_outside_the_folder(shapes: Path, tmp_path: Path) -> None:
    """As pycocotools' other users read them: FiftyOne writes absolute names, and annotations in a folder lead out of it."""
    images = sorted((shapes / "images").iterdir())[:2]
    names = [str(images[0]), f"../{shapes.name}/images/{images[1].name}"]
    listed = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    (shapes.parent / "labels").mkdir(exist_ok=True)
    dataset = read_coco(changed(shapes, tmp_path, images=listed, annotations=[]), SPEC, shapes.parent / "labels")
    assert [one.path.resolve() for one in dataset.examples] == [path.resolve() for path in images]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"categories": [{"id": 1, "name": "circles"}]}, "class 'circle' is not a category"),
        ({"images": []}, "lists no images"),
        ({"images": {}}, "no list 'images'"),
        ({"annotations": [{"id": 1}]}, "has no 'image_id'"),
        ({"images": [{"id": 1, "file_name": "gone.jpg"}]}, "lists gone.jpg"),
    ],
)
def test_annotations_that_cannot_be_used(shapes: Path, tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_coco(changed(shapes, tmp_path, **parts), SPEC, shapes / "images")
    assert words in str(caught.value)


def test_files_that_are_no_annotations(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="File not found"):
        read_coco(tmp_path / "gone.json", SPEC, None)
    with pytest.raises(UsageError, match="must contain one annotation file"):
        read_coco(tmp_path, SPEC, None)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UsageError, match="is not valid JSON"):
        read_coco(tmp_path, SPEC, None)
    with pytest.raises(UsageError, match="is not a folder"):
        read_coco(shapes, SPEC, tmp_path / "gone")


def test_the_numbers_are_those_of_coco(shapes: Path) -> None:
    """Against the same boxes given to faster-coco-eval by another road."""
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    from evaluate_yolov5n import coco_scores

    dataset = read_coco(shapes, SPEC, None)
    scorer = BoxScoring().scorer(SPEC, dataset)
    for image, entries in by_image(dataset.context.document).items():
        scorer.add(image, detections(entries, shift=2.0, seed=image))
    expected = coco_scores(shapes / "instances.json", scorer.records())
    found = scorer.scores()
    assert next(iter(found)) == "mAP"
    assert 0.1 < found["mAP"] < 1
    assert found["mAP"] == pytest.approx(expected["mAP50-95"], abs=1e-4)
    assert found["mAP50"] == pytest.approx(expected["mAP50"], abs=1e-4)
    table = scorer.per_class()
    assert found["mAP"] == pytest.approx(np.mean([entry["mAP"] for entry in table.values()]))
    assert found["VOC AP50"] == pytest.approx(np.mean([entry["VOC AP50"] for entry in table.values()]))
    assert sum(entry["objects"] for entry in table.values()) == len(dataset.context.document["annotations"])


def test_perfect_wrong_and_silent_detectors(shapes: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    dataset = read_coco(shapes, SPEC, None)
    entries = by_image(dataset.context.document)
    perfect, wrong, silent = (BoxScores(dataset.context) for _ in range(3))
    for image, truths in entries.items():
        boxes = detections(truths)
        perfect.add(image, boxes)
        wrong.add(image, Detections(boxes.boxes, boxes.scores, (boxes.labels + 1) % 4, LABELS))
        silent.add(image, detections([]))
    scores = perfect.scores()
    assert 0 < scores.pop("AR1") < scores.pop("AR10") <= 1
    assert all(value == pytest.approx(1.0) for value in scores.values())
    assert wrong.scores()["recall"] == pytest.approx(1.0), "proposals have no class"
    assert wrong.scores()["mAP50"] < 0.5
    assert set(silent.scores().values()) == {0.0}


def test_average_recall_counts_the_best_of_each_image(tmp_path: Path) -> None:
    """By hand: 4 objects of one class; the best result is wrong, the next ones right."""
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    truths = [box(20.0 * number, 0, area=100, iscrowd=0, id=number + 1) for number in range(4)]
    document = {"images": [{"id": 1}], "annotations": truths, "categories": [{"id": 1, "name": "circle"}]}
    scorer = BoxScores(CocoTruth(document, (1,), ("circle",)))
    places = [500.0] + [20.0 * number for number in range(3)] + [1000.0 + 20 * number for number in range(400)] + [60.0]
    boxes = np.array([[x, 0, x + 10, 10] for x in places], np.float32)
    scorer.add(1, Detections(boxes, np.linspace(1, 0.1, len(boxes), dtype=np.float32), np.zeros(len(boxes), np.int64)))
    found = {name: value for name, value in scorer.scores().items() if name.startswith("AR")}
    assert found == pytest.approx({"AR1": 0, "AR10": 0.75, "AR100": 0.75, "AR300": 0.75, "AR1000": 1})


def test_only_images_that_were_seen_count(shapes: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    dataset = read_coco(shapes, SPEC, None)
    scorer = BoxScores(dataset.context)
    image, truths = next(iter(by_image(dataset.context.document).items()))
    scorer.add(image, detections(truths))
    assert scorer.scores()["mAP"] == pytest.approx(1.0)


def box(x: float, y: float, size: float = 10.0, **more: Any) -> dict[str, Any]:
    return {"image_id": 1, "category_id": 1, "bbox": [x, y, size, size], **more}


def test_voc_average_precision_by_hand() -> None:
    truths = [box(0, 0), box(50, 50)]
    hit, miss, other = box(0, 0, score=0.9), box(200, 0, score=0.8), box(50, 50, score=0.7)
    assert voc_average_precisions(truths, [hit, other])[1] == 1.0
    assert voc_average_precisions(truths, [hit])[1] == 0.5
    # precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1: the curve is 1 up to 1/2, then 2/3
    assert voc_average_precisions(truths, [hit, miss, other])[1] == pytest.approx(0.5 + 0.5 * 2 / 3)
    twice = box(1, 0, score=0.95)
    assert voc_average_precisions(truths, [hit, twice, other])[1] == pytest.approx(0.5 + 0.5 * 2 / 3), "once each"
    assert voc_average_precisions(truths, [])[1] == 0.0
    difficult = [box(0, 0), box(50, 50, iscrowd=1)]
    assert voc_average_precisions(difficult, [hit, other])[1] == 1.0
    assert voc_average_precisions([box(0, 0, iscrowd=1)], [hit]) == {}
    assert voc_average_precisions([box(0, 0)], [box(3.4, 0, score=1)])[1] == 0.0, "IoU 0.49"
    assert voc_average_precisions([box(0, 0)], [box(3.3, 0, score=1)])[1] == 1.0, "IoU 0.504"
    elsewhere = box(0, 0, score=0.9) | {"image_id": 2}
    assert voc_average_precisions(truths, [elsewhere])[1] == 0.0
