"""Labeled images on which a wrong file scores as well as a right one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adaptrt import DecoderSpec, Detections, ImageTransform, InputSpec, ModelSpec
from adaptrt.pipeline.verification.score_limits import blind_spots
from adaptrt.predictions import Classification, SemanticMap
from adaptrt.specs import Dataset, Example
from adaptrt.vision.images import write_image

CLASSES = 200


def spec(task: str, *labels: str) -> ModelSpec:
    decoder = DecoderSpec({"detect": "yolo", "semantic": "semantic"}.get(task, task))
    return ModelSpec((InputSpec.image(32, 32),), (), task, ImageTransform(), decoder, labels)


def answer(label: int) -> Classification:
    names = tuple(map(str, range(CLASSES)))
    return Classification(np.float32([0.9]), np.array([label]), names)


def classified(truths: list[int], after: list[int]) -> str:
    examples = tuple(Example(Path(f"{index}.png"), truth) for index, truth in enumerate(truths))
    model = spec("classify", *map(str, range(CLASSES)))
    sizes = [(32, 32)] * len(truths)
    return blind_spots(model, Dataset(examples), [*map(answer, truths)], [*map(answer, after)], sizes, 1.0)


def test_images_of_one_class() -> None:
    assert classified([3] * 100, [3] * 100) == (
        "on these images, a file that ignores its input would lose only 0 points of top-1"
    )


def test_images_of_many_classes() -> None:
    truths = [index % CLASSES for index in range(10 * CLASSES)]
    assert classified(truths, truths) == ""
    some = [0 if index < CLASSES and index % 25 == 7 else label for index, label in enumerate(truths)]
    assert classified(truths, some) == ""  # an image of a class each


def test_a_class_that_is_lost_hardly_changes_the_score() -> None:
    truths = [index % CLASSES for index in range(10 * CLASSES)]
    lost = [0 if label == 7 else label for label in truths]
    assert classified(truths, lost) == "class '7' scores 0 instead of 100"
    two = [0 if label in (7, 8) else label for label in truths]
    assert classified(truths, two).endswith(", and 1 more lose more than half of their score")


def test_classes_whose_images_have_their_own_sizes() -> None:
    """The images of one size then show one class, but those of the others do not."""
    truths = [3] * 60 + [4] * 40
    examples = tuple(Example(Path(f"{index}.png"), truth) for index, truth in enumerate(truths))
    model = spec("classify", *map(str, range(CLASSES)))
    sizes = [(32, 32) if truth == 3 else (64, 48) for truth in truths]
    right = [*map(answer, truths)]
    assert blind_spots(model, Dataset(examples), right, right, sizes, 1.0) == ""


def boxes(*rows: tuple[float, float, float, float, int]) -> Detections:
    found = np.float32([row[:4] for row in rows]).reshape(-1, 4)
    return Detections(found, np.linspace(0.9, 0.8, len(rows), dtype=np.float32), np.array([row[4] for row in rows], int), ("a", "b"))  # fmt: skip


def test_most_images_are_without_objects_and_of_one_size(tmp_path: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="computes mAP")
    from adaptrt.specs import scoring_named

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    model, right, sizes = spec("detect", "a", "b"), [], []
    for index in range(30):
        sizes.append((100, 100) if index < 20 else (100, 90 + index))
        write_image(tmp_path / "images" / f"{index:02}.png", np.zeros((*sizes[-1], 3), np.uint8))
        width = sizes[-1][1]
        line = "" if index < 20 else f"0 {20 / width} 0.2 {20 / width} 0.2\n"
        (tmp_path / "labels" / f"{index:02}.txt").write_text(line)
        right.append(boxes((10, 10, 30, 30, 0)) if line else boxes())
    (tmp_path / "data.yaml").write_text("path: .\nval: images\nnames: {0: a, 1: b}\n")
    dataset = scoring_named("detect").read_dataset(tmp_path / "data.yaml", model, None)
    assert blind_spots(model, dataset, right, right, sizes, 1.0) == ""


@pytest.mark.parametrize("found", [True, False])
def test_a_detector_that_finds_nothing_of_what_is_labeled(tmp_path: Path, found: bool) -> None:
    """Labels of other classes or other images: every file loses nothing there."""
    pytest.importorskip("faster_coco_eval", reason="computes mAP")
    from adaptrt.specs import scoring_named

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    model, right = spec("detect", "a", "b"), []
    for index in range(20):
        write_image(tmp_path / "images" / f"{index:02}.png", np.zeros((100, 100, 3), np.uint8))
        x, y = 5 * (index % 10), 40 * (index // 10)
        label = index % 2
        (tmp_path / "labels" / f"{index:02}.txt").write_text(f"{label} {(x + 10) / 100} {(y + 20) / 100} 0.2 0.4\n")
        right.append(boxes((x, y, x + 20, y + 40, label)) if found else boxes())
    (tmp_path / "data.yaml").write_text("path: .\nval: images\nnames: {0: a, 1: b}\n")
    dataset = scoring_named("detect").read_dataset(tmp_path / "data.yaml", model, None)
    said = blind_spots(model, dataset, right, right, [(100, 100)] * 20, 1.0)
    assert said == ("" if found else "on these images, a file that ignores its input would lose only 0 points of mAP")
    if found:
        lost = [one if index % 2 else boxes() for index, one in enumerate(right)]
        assert blind_spots(model, dataset, right, lost, [(100, 100)] * 20, 60.0).startswith("class 'a' scores 0")


def test_maps_of_images_of_several_sizes(tmp_path: Path) -> None:
    """A map has the size of its image, so it cannot stand for one of another size."""
    import cv2

    rng, maps, examples = np.random.default_rng(0), [], []
    for index in range(24):
        size = (20, 30) if index % 3 else (30, 20)
        labels = rng.integers(0, 2, size).astype(np.uint8)
        mask = tmp_path / f"{index}.png"
        mask.write_bytes(cv2.imencode(".png", labels)[1].tobytes())
        maps.append(SemanticMap(labels, ("a", "b")))
        examples.append(Example(tmp_path / f"{index}.jpg", mask))
    sizes = [one.labels.shape for one in maps]
    dataset = Dataset(tuple(examples))
    assert blind_spots(spec("semantic", "a", "b"), dataset, maps, maps, sizes, 1.0) == ""
