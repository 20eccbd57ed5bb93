"""What an evaluation writes on request: drawn images, a results file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adaptrt import Detections, OutputError
from adaptrt.evaluation.files import Drawer, ResultsFile
from adaptrt.evaluation.subjects import Subject
from adaptrt.specs import Example, task_named

DETECT = task_named("detect")
SUBJECT = Subject("onnxruntime", Path("detr.onnx"))
IMAGE = np.full((40, 60, 3), 128, np.uint8)
FOUND = Detections(
    np.array([[5, 5, 30, 30], [20, 10, 50, 35]], np.float32),
    np.array([0.9, 0.2], np.float32),
    np.array([0, 1], np.int64),
    ("cat", "dog"),
)
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("cat", "dog"))


@pytest.fixture(autouse=True)
def needs_opencv() -> None:
    pytest.importorskip("cv2", reason="images need OpenCV")


def shown(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))


def test_boxes_are_drawn_from_the_threshold_on(tmp_path: Path) -> None:
    from adaptrt.vision.images import read_image

    drawn = {}
    for score in (0.1, 0.3, 0.95):
        drawer = Drawer(tmp_path / str(score), score)
        drawer(SUBJECT, Example(Path("a.png"), 1), IMAGE, FOUND, DETECT)
        drawn[score] = read_image(tmp_path / str(score) / "detr.onnxruntime" / "a.jpg").astype(int)
    changed = [int((abs(drawn[score] - 128).max(2) > 40).sum()) for score in (0.1, 0.3, 0.95)]
    assert changed[0] > changed[1] > changed[2] == 0


def test_images_of_one_name_do_not_take_each_others_place(tmp_path: Path) -> None:
    """``train/1.png`` and ``val/1.png``, ``1.png`` and ``1.jpg``: each backend draws all of them, under equal names."""
    drawer = Drawer(tmp_path, 0.3)
    examples = [Example(Path(name), 0) for name in ("train/1.png", "val/1.png", "val/1.jpg", "val/2.jpg")]
    subjects = [SUBJECT, Subject("eager", Path("detr.onnx"))]
    for subject in subjects:
        for example in examples:
            drawer(subject, example, IMAGE, NOTHING, DETECT)
    for subject in subjects:
        assert shown(tmp_path / f"detr.{subject.backend}") == ["1-2.jpg", "1-3.jpg", "1.jpg", "2.jpg"]
    assert drawer.written == [tmp_path / "detr.onnxruntime", tmp_path / "detr.eager"]


def test_a_results_file_makes_its_folder_and_names_each_backend(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "new" / "found.json", several=True)
    results(SUBJECT, [{"image_id": 1}])
    assert results.written == [tmp_path / "new" / "found.detr.onnxruntime.json"]
    assert json.loads(results.written[0].read_text()) == [{"image_id": 1}]


def test_a_place_that_cannot_be_written_is_known_before_minutes_are_spent(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file is not a folder"):
        ResultsFile(tmp_path / "file" / "found.json").prepare()
    with pytest.raises(OutputError, match="is a folder"):
        ResultsFile(tmp_path).prepare()
    with pytest.raises(OutputError, match="file is not a folder"):
        Drawer(tmp_path / "file" / "shown", 0.3).prepare()
