"""PASCAL VOC data sets: an XML file for each image."""

from __future__ import annotations

from pathlib import Path

import pytest

from adaptrt import InputSpec, ModelSpec, UsageError
from adaptrt.specs.tasks import Dataset
from adaptrt.tasks.detect.scoring import BoxScoring

LABELS = ("circle", "traffic light", "star")
SPEC = ModelSpec((InputSpec.image(32, 32),), task="detect", labels=LABELS)
OBJECT = (
    "<object><name>{}</name><difficult>{}</difficult>"
    "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
)


def write(folder: Path, name: str, *objects: str, filename: str | None = None) -> Path:
    for inside in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    (folder / "JPEGImages" / f"{name}.jpg").touch()
    size = "<size><width>200</width><height>100</height><depth>3</depth></size>"
    file = folder / "Annotations" / f"{name}.xml"
    file.write_text(
        f"<annotation><filename>{filename or name + '.jpg'}</filename>{size}{''.join(objects)}</annotation>"
    )
    return file


def read(data: Path, images: Path | None = None) -> Dataset:
    return BoxScoring().read_dataset(data, SPEC, images)


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    write(tmp_path, "one", OBJECT.format("star", 0, 1, 1, 10, 20), OBJECT.format("Traffic_Light", 1, 51, 31, 60, 40))
    write(tmp_path, "two", OBJECT.format("person", 0, 1, 1, 5, 5))
    write(tmp_path, "three")
    return tmp_path


def test_boxes_classes_and_difficult_objects(voc: Path) -> None:
    dataset = read(voc)
    assert [example.path.name for example in dataset.examples] == ["one.jpg", "three.jpg", "two.jpg"]
    assert dataset.context.names == LABELS
    first, second = dataset.context.document["annotations"]
    assert (first["bbox"], first["area"], first["iscrowd"]) == ([0, 0, 10, 20], 200, 0)
    assert (second["bbox"], second["iscrowd"]) == ([50, 30, 10, 10], 1)
    assert [dataset.context.categories.index(entry["category_id"]) for entry in (first, second)] == [2, 1]
    assert "not among the model's classes, skipped: person" in dataset.notes
    assert dataset.context.document["images"][0] == {"id": 1, "file_name": "one.jpg", "width": 200, "height": 100}


def test_lists_and_other_folders(voc: Path, tmp_path: Path) -> None:
    listed = voc / "ImageSets" / "Main" / "val.txt"
    listed.write_text("two -1\none 1\n")
    assert [example.path.name for example in read(listed).examples] == ["two.jpg", "one.jpg"]
    (voc / "JPEGImages").rename(tmp_path / "elsewhere")
    assert len(read(voc, tmp_path / "elsewhere").examples) == 3
    with pytest.raises(UsageError, match=r"one\.jpg.* is not in"):
        read(voc)
    flat = tmp_path / "flat"
    flat.mkdir()
    (voc / "Annotations" / "one.xml").rename(flat / "one.xml")
    (tmp_path / "elsewhere" / "one.jpg").rename(flat / "one.jpg")
    assert [example.path for example in read(flat).examples] == [flat / "one.jpg"]


def test_it_is_scored(voc: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    import numpy as np

    from adaptrt import Detections

    dataset = read(voc)
    scorer = BoxScoring().scorer(SPEC, dataset)
    for example in dataset.examples:
        boxes = [[0, 0, 10, 20]] if example.path.stem == "one" else []
        scores, labels = np.full(len(boxes), 0.9, np.float32), np.full(len(boxes), 2)
        scorer.add(example.truth, Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, labels, LABELS))
    assert scorer.scores()["mAP"] == pytest.approx(1)
    assert scorer.scores()["VOC AP50"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotation><object>", "is not valid XML"),
        ("<svg/>", "its root is <svg>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "document type"),
        (f"<annotation>{OBJECT.format('star', 0, 'x', 1, 2, 3)}</annotation>", "'x' is not a number of pixels"),
        (f"<annotation>{OBJECT.format('star', 0, 'nan', 1, 2, 3)}</annotation>", "'nan' is not a number of pixels"),
        (f"<annotation>{OBJECT.format('star', 0, 9, 1, 2, 3)}</annotation>", "ends before it starts"),
        ("<annotation><object><name>star</name></object></annotation>", "no bndbox"),
    ],
)
def test_files_that_cannot_be_used(text: str, words: str, voc: Path) -> None:
    (voc / "Annotations" / "one.xml").write_text(text)
    with pytest.raises(UsageError, match=words):
        read(voc)


def test_other_classes_and_no_objects(voc: Path, tmp_path: Path) -> None:
    write(voc, "one", OBJECT.format("person", 0, 1, 1, 5, 5))
    with pytest.raises(UsageError, match="No class of the XML files is a class of the model: person"):
        read(voc)
    empty = tmp_path / "empty"
    write(empty, "one")
    with pytest.raises(UsageError, match="has an object"):
        read(empty)
    (empty / "ImageSets" / "Main" / "val.txt").write_text("gone\n")
    with pytest.raises(UsageError, match="lists gone"):
        read(empty / "ImageSets" / "Main" / "val.txt")
