"""mAP of masks, keypoints and rotated boxes on the drawn shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptrt import InputSpec, Mask, ModelSpec, Poses, RotatedDetections, Segments, UsageError
from adaptrt.specs.tasks import scoring_named

pytest.importorskip("cv2", reason="images need OpenCV")

LABELS = ("circle", "square", "triangle", "star")
SEED, COUNT = 5, 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The images, their annotations as COCO and as DOTA."""
    import draw_shapes

    look = replace(draw_shapes.DETECTION, size=320, objects=(4, 8), radius=(0.06, 0.2))
    folder = tmp_path_factory.mktemp("shapes")
    draw_shapes.write_detection_set(folder, COUNT, SEED, look)
    draw_shapes.write_rotated_set(folder, COUNT, SEED, look)
    return folder, [draw_shapes.draw_detection_image(SEED, index, look) for index in range(COUNT)]


def spec_of(task: str) -> ModelSpec:
    return ModelSpec((InputSpec.image(32, 32),), task=task, labels=LABELS)


def perfect(task: str, image: Any, shift: int = 0) -> Any:
    """The annotations as a model would give them, everything ``shift`` pixels further right."""
    scores = np.linspace(0.9, 0.5, len(image.labels)).astype(np.float32)
    boxes, labels = image.boxes + np.float32([shift, 0, shift, 0]), image.labels
    size = image.image.shape[:2]
    if task == "segment":
        whole = [np.roll(image.owners == index + 1, shift, axis=1) for index in range(len(labels))]
        return Segments(boxes, scores, labels, LABELS, tuple(Mask(mask, 0, 0) for mask in whole), size)
    if task == "pose":
        points = np.clip(image.keypoints, [0, 0, 0], [*size[::-1], 1]).astype(np.float32)
        return Poses(boxes, scores, labels, LABELS, points + np.float32([shift, 0, 0]))
    import cv2

    turned = [cv2.minAreaRect(corners) for corners in image.rotated]
    rotated = np.array([[*center, *sides, np.deg2rad(angle)] for center, sides, angle in turned], np.float32)
    return RotatedDetections(boxes, scores, labels, LABELS, rotated.reshape(-1, 5) + np.float32([shift, 0, 0, 0, 0]))


def scored(task: str, drawn: Any, shift: int = 0) -> Any:
    folder, images = drawn
    scoring = scoring_named(task)
    data = folder if task == "obb" else folder / "instances.json"
    dataset = scoring.read_dataset(data, spec_of(task), None)
    scorer = scoring.scorer(spec_of(task), dataset)
    for example, image in zip(dataset.examples, images, strict=True):
        scorer.add(example.truth, perfect(task, image, shift))
    return scorer


@pytest.mark.parametrize(("task", "main"), [("segment", "mask mAP"), ("pose", "pose mAP"), ("obb", "mAP50")])
def test_what_is_right_scores_1_and_what_is_off_scores_less(task: str, main: str, drawn: Any) -> None:
    if task != "obb":
        pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    scorer = scored(task, drawn)
    scores = scorer.scores()
    assert next(iter(scores)) == main
    few = {name: scores.pop(name) for name in ("mask AR1", "mask AR10") if name in scores}
    assert all(value == pytest.approx(1, abs=1e-6) for value in scores.values()), scores
    assert not few or 0 < few["mask AR1"] < few["mask AR10"] <= 1
    table = scorer.per_class()
    assert sum(row["objects"] for row in table.values()) == sum(len(image.labels) for image in drawn[1])
    assert json.dumps(scorer.records())
    off = scored(task, drawn, shift=12).scores()
    key = {"segment": "mask mAP", "pose": "pose mAP", "obb": "mAP"}[task]
    assert off[key] < 0.7
    silent = scoring_named(task).scorer(
        spec_of(task),
        scoring_named(task).read_dataset(
            drawn[0] if task == "obb" else drawn[0] / "instances.json", spec_of(task), None
        ),
    )
    assert set(silent.scores().values()) == {0.0}


def test_ultralytics_labels_are_read_too(drawn: Any, tmp_path: Path) -> None:
    folder, images = drawn
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").symlink_to(folder / "images")
    for index, image in enumerate(images):
        height, width = image.image.shape[:2]
        lines = [
            " ".join([str(label), *(f"{value:.6f}" for value in (corners / [width, height]).ravel())])
            for corners, label in zip(image.rotated, image.labels, strict=True)
        ]
        (tmp_path / "labels" / f"{index:06d}.txt").write_text("\n".join(lines))
    first = scoring_named("obb").read_dataset(folder, spec_of("obb"), None)
    second = scoring_named("obb").read_dataset(tmp_path, spec_of("obb"), None)
    for a, b in zip(first.examples, second.examples, strict=True):
        np.testing.assert_allclose(a.truth.polygons, b.truth.polygons, atol=0.02)
        np.testing.assert_array_equal(a.truth.labels, b.truth.labels)


def written_by_ultralytics(task: str, drawn: Any, folder: Path) -> Path:
    """The drawn set with a data.yaml, numbered backwards, and label files in Ultralytics' format."""
    source, images = drawn
    (folder / "images").symlink_to(source / "images")
    (folder / "labels").mkdir()
    for index, image in enumerate(images):
        height, width = image.image.shape[:2]
        lines = []
        for number, label in enumerate(image.labels.tolist()):
            left, top, right, bottom = image.boxes[number].tolist()
            box = [
                (left + right) / 2 / width,
                (top + bottom) / 2 / height,
                (right - left) / width,
                (bottom - top) / height,
            ]
            values = {
                "segment": [left, top, right, top, right, bottom, left, bottom] / np.tile([width, height], 4),
                "pose": [*box, *(image.keypoints[number] / [width, height, 1]).ravel()],
                "obb": (image.rotated[number] / [width, height]).ravel(),
            }[task]
            lines.append(" ".join([str(len(LABELS) - 1 - label), *(f"{value:.7f}" for value in values)]))
        (folder / "labels" / f"{index:06d}.txt").write_text("\n".join(lines))
    data = folder / "data.yaml"
    data.write_text(f"path: .\nval: images\nnames: {list(LABELS[::-1])}\nkpt_shape: [5, 3]\n")
    return data


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_data_yaml_is_read(task: str, drawn: Any, tmp_path: Path) -> None:
    """The same truth as in the annotations, with classes found by name; masks are polygons there."""
    data, scoring = written_by_ultralytics(task, drawn, tmp_path), scoring_named(task)
    dataset = scoring.read_dataset(data, spec_of(task), None)
    assert len(dataset.examples) == COUNT
    if task == "obb":
        for example, image in zip(dataset.examples, drawn[1], strict=True):
            np.testing.assert_allclose(example.truth.polygons, image.rotated, atol=0.01)
            np.testing.assert_array_equal(example.truth.labels, image.labels)
        return
    found = dataset.context.document["annotations"]
    known = scoring.read_dataset(drawn[0] / "instances.json", spec_of(task), None)
    expected = known.context.document["annotations"]
    model = {category: place for place, category in enumerate(dataset.context.categories)}
    theirs = {category: place for place, category in enumerate(known.context.categories)}
    for one, other in zip(found, expected, strict=True):
        assert model[one["category_id"]] == theirs[other["category_id"]]
        np.testing.assert_allclose(one["bbox"], other["bbox"], atol=0.01)
        if task == "pose":
            np.testing.assert_allclose(one["keypoints"], other["keypoints"], atol=0.02)
            assert one["num_keypoints"] == other["num_keypoints"]
        else:
            assert one["area"] == pytest.approx(one["bbox"][2] * one["bbox"][3], rel=1e-4)
    if task == "segment":
        pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
        scorer = scoring.scorer(spec_of(task), dataset)
        for example, image in zip(dataset.examples, drawn[1], strict=True):
            boxes = [Mask(np.ones((int(b - t), int(r - l)), bool), int(l), int(t)) for l, t, r, b in image.boxes]  # noqa: E741
            scorer.add(example.truth, replace_masks(perfect(task, image), boxes))
        assert scorer.scores()["mask mAP"] == pytest.approx(1)


def replace_masks(found: Segments, masks: list[Mask]) -> Segments:
    return Segments(found.boxes, found.scores, found.labels, found.names, tuple(masks), found.size)


@pytest.mark.parametrize(
    ("task", "line", "words"),
    [
        ("segment", "0 0.5 0.5 0.2 0.2", "line 1: 4 numbers after the class are not a polygon"),
        ("pose", "0 0.5 0.5 0.2 0.2 0.1 0.1 2", "5 keypoints are 19 numbers"),
        ("obb", "0 0.5 0.5 0.2 0.2", "line 1, is not a class and four corners"),
        ("obb", "9 0 0 0 1 1 1 1 0", "class 9 has no name"),
    ],
)
def test_lines_that_cannot_be_used(task: str, line: str, words: str, drawn: Any, tmp_path: Path) -> None:
    data = written_by_ultralytics(task, drawn, tmp_path)
    (tmp_path / "labels" / "000000.txt").write_text(line)
    with pytest.raises(UsageError, match=words):
        scoring_named(task).read_dataset(data, spec_of(task), None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 2 3 4 5 6 7 circle 0", "expected four corners"),
        ("1 2 3 4 5 6 7 nan circle 0", "expected four corners"),
        ("1 2 3 4 5 6 7 8 ship 0", "no class 'ship'"),
        ("1 2 3 4 5 6 7 1e300 circle 0", "expected four corners"),
        ("1 2 3 4 5 6 7 8 9 0", "no class '9'"),
    ],
)
def test_labels_that_cannot_be_used(line: str, words: str, drawn: Any, tmp_path: Path) -> None:
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "images").symlink_to(drawn[0] / "images")
    (tmp_path / "labelTxt" / "000000.txt").write_text(f"imagesource:GoogleEarth\ngsd:0.1\n{line}\n")
    with pytest.raises(UsageError, match=words):
        scoring_named("obb").read_dataset(tmp_path, spec_of("obb"), None)


def test_folders_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Folder not found"):
        scoring_named("obb").read_dataset(tmp_path, spec_of("obb"), None)


def test_difficult_objects_count_for_neither_side(drawn: Any, tmp_path: Path) -> None:
    folder, images = drawn
    (tmp_path / "labelTxt").mkdir()
    (tmp_path / "images").symlink_to(folder / "images")
    text = (folder / "labelTxt" / "000000.txt").read_text().splitlines()
    (tmp_path / "labelTxt" / "000000.txt").write_text("\n".join([text[0][:-1] + "1", *text[1:]]))
    dataset = scoring_named("obb").read_dataset(tmp_path, spec_of("obb"), None)
    found = perfect("obb", images[0])
    for kept in (np.arange(len(text)), np.arange(1, len(text))):
        scorer = scoring_named("obb").scorer(spec_of("obb"), dataset)
        scorer.add(dataset.examples[0].truth, found.at(kept))
        assert scorer.scores()["mAP50"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("segment", {"segmentation": None}), ("segment", {"segmentation": [[1, 2, 3]]}),
        ("segment", {"segmentation": {"size": [4, 4], "counts": [3]}}),
        ("segment", {"segmentation": {"size": [1 << 40, 4], "counts": "abc"}}),
        ("segment", {"segmentation": [["a"] * 6]}), ("segment", {"segmentation": []}),
        ("pose", {"keypoints": None}), ("pose", {"keypoints": [1, 2]}), ("pose", {"keypoints": [1, 2, "x"]}),
        ("pose", {"keypoints": [1, 2, 2]}),
    ],
)  # fmt: skip
def test_annotations_that_cannot_be_used(task: str, changes: dict[str, Any], drawn: Any, tmp_path: Path) -> None:
    document = json.loads((drawn[0] / "instances.json").read_text())
    document["annotations"][0] |= changes
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(UsageError):
        scoring_named(task).read_dataset(tmp_path / "changed.json", spec_of(task), drawn[0] / "images")


def test_polygons_are_read(drawn: Any, tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs faster-coco-eval")
    folder, images = drawn
    document = json.loads((folder / "instances.json").read_text())
    for entry in document["annotations"]:
        x, y, width, height = entry["bbox"]
        entry["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    (tmp_path / "changed.json").write_text(json.dumps(document))
    dataset = scoring_named("segment").read_dataset(tmp_path / "changed.json", spec_of("segment"), folder / "images")
    scorer = scoring_named("segment").scorer(spec_of("segment"), dataset)
    for example, image in zip(dataset.examples, images, strict=True):
        scorer.add(example.truth, perfect("segment", image))
    scores = scorer.scores()
    assert scores["box mAP"] == pytest.approx(1)
    assert 0.05 < scores["mask mAP"] < 0.9
