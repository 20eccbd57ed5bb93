"""Ultralytics' data sets as they come from labeling services, and what is said about a wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptrt.errors import UsageError
from adaptrt.specs import InputSpec, ModelSpec
from adaptrt.specs.tasks import Dataset, scoring_named

SPEC = ModelSpec(inputs=(InputSpec.image(32, 32),), task="detect", labels=("helmet", "vest"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``valid/images`` and ``valid/labels`` beside the data.yaml, as Roboflow exports it."""
    for name in ("images", "labels"):
        (tmp_path / "set" / "valid" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "set/valid/images/a.png")
    (tmp_path / "set/valid/labels/a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    return tmp_path / "set"


def read(data: Path, val: str = "../valid/images") -> Dataset:
    if data.is_dir():
        (data / "data.yaml").write_text(f"train: ../train/images\nval: {val}\nnc: 2\nnames: ['helmet', 'vest']\n")
    return scoring_named("detect").read_dataset(data / "data.yaml", SPEC, None)


def test_a_leading_step_up_is_dropped_if_it_leads_nowhere(folder: Path) -> None:
    (example,) = read(folder).examples
    assert example.path == folder / "valid/images/a.png"


def test_a_leading_step_up_that_exists_is_taken(folder: Path) -> None:
    (folder / "valid").rename(folder.parent / "valid")
    (example,) = read(folder).examples
    assert example.path.resolve() == folder.parent / "valid/images/a.png"


@pytest.mark.parametrize("val", ["../val/images", "val/images", "lists/val.txt"])
def test_images_that_are_missing(folder: Path, val: str) -> None:
    with pytest.raises(UsageError, match=r"data.yaml: the validation images \(val: ") as caught:
        read(folder, val)
    assert "--images" in (caught.value.hint or "")


def test_the_folder_of_a_data_yaml(folder: Path) -> None:
    (folder / "data.yaml").write_text("")
    with pytest.raises(UsageError, match="must contain one annotation file") as caught:
        scoring_named("detect").read_dataset(folder, SPEC, None)
    assert f"--data {folder / 'data.yaml'}" in (caught.value.hint or "")
