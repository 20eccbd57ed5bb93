"""The project's own images: the same for a seed, with boxes that are true."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[1] / "fixtures" / "draw_shapes.py"


@pytest.fixture(scope="module")
def shapes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_shapes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["draw_shapes"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def test_an_image_depends_on_its_seed_and_index_alone(shapes: ModuleType) -> None:
    in_a_row = list(shapes.draw_detection_images(4, seed=7))
    alone = shapes.draw_detection_image(7, 3)
    for drawn, again in zip(in_a_row[3], alone, strict=True):
        np.testing.assert_array_equal(drawn, again)
    other_seed = shapes.draw_detection_image(8, 3)
    assert other_seed.image.shape != alone.image.shape or (other_seed.image != alone.image).any()


def test_images_vary(shapes: ModuleType) -> None:
    images = list(shapes.draw_detection_images(24, seed=1, look=shapes.Look(size=320)))
    sizes = {image.image.shape[:2] for image in images}
    assert len(sizes) >= 4
    assert any(height != width for height, width in sizes)
    assert all(max(size) == 320 for size in sizes)
    assert set(np.concatenate([image.labels for image in images])) == {0, 1, 2, 3}
    assert all(1 <= len(image.labels) <= 9 for image in images)
    assert len({len(image.labels) for image in images}) >= 5


def test_boxes_are_tight_and_inside(shapes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn white on black, the pixels themselves say where the object is."""

    def paint_white(rng: object, canvas: np.ndarray, polygon: object, coverage: np.ndarray) -> None:
        canvas[:] = np.maximum(canvas, 255 * coverage[..., None])

    monkeypatch.setattr(
        shapes, "_texture", lambda rng, height, width, contrast: np.zeros((height, width, 3), np.float32)
    )
    monkeypatch.setattr(shapes, "_draw_clutter", lambda rng, canvas: None)
    monkeypatch.setattr(shapes, "_paint", paint_white)
    monkeypatch.setattr(cv2, "GaussianBlur", lambda image, *_: image)
    for index in range(40):
        image = shapes.draw_detection_image(5, index, shapes.Look(size=200, objects=(1, 1)))
        seen = image.image.max(-1) > 127
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_allclose(image.boxes[0], edges, atol=1)  # the grain tips pixels that are half covered
        height, width = image.image.shape[:2]
        assert (image.boxes[0] >= 0).all()
        assert (image.boxes[0] <= (width, height, width, height)).all()


def test_objects_stay_visible(shapes: ModuleType) -> None:
    """Objects hide one another and are cut by the border, but never so much that there is nothing to learn."""
    crowded = shapes.Look(size=320, objects=(12, 12), radius=(0.1, 0.2))
    overlaps = 0
    for image in shapes.draw_detection_images(8, seed=3, look=crowded):
        sides = image.boxes[:, 2:] - image.boxes[:, :2]
        assert (sides > 10).all()
        assert (image.areas > 0.2 * sides.prod(1)).all()
        top_left = np.maximum(image.boxes[:, None, :2], image.boxes[None, :, :2])
        bottom_right = np.minimum(image.boxes[:, None, 2:], image.boxes[None, :, 2:])
        overlaps += int((bottom_right > top_left).all(-1).sum()) - len(image.boxes)
    assert overlaps > 0


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_detection_set_is_valid_coco(shapes: ModuleType, tmp_path: Path, suffix: str) -> None:
    look = shapes.Look(size=160)
    path = shapes.write_detection_set(tmp_path, 6, seed=2, look=look, suffix=suffix)
    document = json.loads(path.read_text())
    assert [category["name"] for category in document["categories"]] == ["circle", "square", "triangle", "star"]
    assert [category["id"] for category in document["categories"]] == [1, 2, 3, 4]
    images = {image["id"]: image for image in document["images"]}
    assert len(images) == 6
    for image in images.values():
        written = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert written is not None
        assert written.shape == (image["height"], image["width"], 3)
    assert [entry["id"] for entry in document["annotations"]] == list(range(1, len(document["annotations"]) + 1))
    for entry in document["annotations"]:
        x, y, width, height = entry["bbox"]
        image = images[entry["image_id"]]
        assert 0 <= x < x + width <= image["width"]
        assert 0 <= y < y + height <= image["height"]
        assert 0 < entry["area"] <= width * height
        assert entry["iscrowd"] == 0
        assert entry["category_id"] in (1, 2, 3, 4)
    first = shapes.draw_detection_image(2, 0, look)
    boxes = [entry["bbox"] for entry in document["annotations"] if entry["image_id"] == 1]
    np.testing.assert_array_equal(np.array(boxes)[:, :2] + np.array(boxes)[:, 2:], first.boxes[:, 2:])


def test_a_classification_set_has_a_folder_per_class(shapes: ModuleType, tmp_path: Path) -> None:
    look = shapes.Look(size=64, radius=(0.2, 0.4), spread=(0.4, 0.6), square_images=True)
    folder = shapes.write_classification_set(tmp_path, 8, seed=2, look=look)
    assert folder == tmp_path / "classes"
    for label, name in enumerate(shapes.NAMES):
        files = sorted((folder / name).glob("*.png"))
        assert len(files) == 2
        image, drawn = shapes.draw_classification_image(2, label, look)
        assert drawn == label
        np.testing.assert_array_equal(cv2.imread(str(files[0])), image)


def test_the_command_writes_both_sets(shapes: ModuleType, tmp_path: Path) -> None:
    from click.testing import CliRunner

    arguments = [str(tmp_path), "--count", "4", "--size", "96", "--class-size", "48"]
    result = CliRunner().invoke(shapes.main, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "instances.json").is_file()
    assert len(list((tmp_path / "images").iterdir())) == 4
    assert len(list((tmp_path / "classes").glob("*/*.png"))) == 4


def test_masks_keypoints_and_rotated_boxes_belong_to_the_boxes(shapes: ModuleType) -> None:
    for image in shapes.draw_detection_images(12, seed=4, look=shapes.Look(size=256, objects=(3, 9))):
        height, width = image.image.shape[:2]
        assert image.owners.shape == (height, width)
        assert image.owners.max() == len(image.labels) == len(image.keypoints) == len(image.rotated)
        for index, box in enumerate(image.boxes):
            rows, columns = np.nonzero(image.owners == index + 1)
            assert len(rows) == image.areas[index]
            np.testing.assert_array_equal(box, [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            corners = image.rotated[index]
            sides = [np.linalg.norm(corners[side] - corners[side - 1]) for side in (1, 2)]
            assert image.areas[index] <= sides[0] * sides[1] * 1.01
            points = image.keypoints[index]
            seen = points[points[:, 2] > 0]
            assert (seen[:, :2] >= 0).all()
            assert (seen[:, :2] <= (width, height)).all()
            visible = points[points[:, 2] == 2]
            assert (visible[:, :2] >= box[:2] - 2).all()
            assert (visible[:, :2] <= box[2:] + 2).all()
    assert {int(value) for value in points[:, 2]} <= {0, 1, 2}


def test_run_lengths_are_cocos(shapes: ModuleType, tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="reads COCO's masks")
    image = shapes.draw_detection_image(3, 0, shapes.Look(size=160))
    for index in range(len(image.labels)):
        mask = image.owners == index + 1
        packed = tools.frPyObjects(shapes.run_lengths(mask), *mask.shape)
        np.testing.assert_array_equal(tools.decode(packed).astype(bool), mask)


def test_a_rotated_set_is_in_dotas_layout(shapes: ModuleType, tmp_path: Path) -> None:
    look = shapes.Look(size=160)
    shapes.write_rotated_set(tmp_path, 2, seed=2, look=look)
    for index in range(2):
        image = shapes.draw_detection_image(2, index, look)
        rows = [line.split() for line in (tmp_path / "labelTxt" / f"{index:06d}.txt").read_text().splitlines()]
        assert [row[8] for row in rows] == [shapes.NAMES[label] for label in image.labels]
        corners = np.array([row[:8] for row in rows], float).reshape(-1, 4, 2)
        np.testing.assert_allclose(corners, image.rotated, atol=0.01)
