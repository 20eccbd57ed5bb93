"""``adaptrt evaluate`` on a detector."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ORIGIN = ("--adapter", "tiny", "--source", "detector")


@pytest.fixture
def converted(tiny: str, adaptrt: Callable[..., Any]) -> str:
    """The tiny detector, and two images with annotations in its classes."""
    pytest.importorskip("faster_coco_eval", reason="requires faster-coco-eval")
    assert adaptrt("convert", "--adapter", "tiny", "detector", "--verify", "none", "-q").code == 0
    from draw_shapes import DETECTION, write_detection_set

    document = json.loads(write_detection_set(Path("set"), 2, 3, DETECTION).read_text())
    document["categories"] = [
        {"id": number, "name": name} for number, name in enumerate(("red", "green", "blue", "x"), 1)
    ]
    Path("set", "instances.json").write_text(json.dumps(document))
    return "detector.onnx"


def test_scores_images_and_classes(converted: str, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt(
        "evaluate", converted, "--data", "set", "--backend", "eager,onnxruntime", *ORIGIN, "--show-dir", "shown"
    )
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0].split()[:7] == ["backend", "file", "mAP", "mAP50", "mAP75", "VOC", "AP50"]
    assert any(line.startswith("class ") for line in lines)
    assert lines[-2:] == [f"Written: {Path('shown', f'detector.{name}')}" for name in ("eager", "onnxruntime")]
    assert "not among the model's classes, skipped: x" in lines
    for backend in ("eager", "onnxruntime"):
        assert len(list(Path("shown", f"detector.{backend}").glob("*.jpg"))) == 2
    classes = next(line for line in lines if line.startswith("class "))
    assert classes.split() == ["class", "objects", "mAP", "eager", "mAP", "onnxruntime"]
    alone = adaptrt("evaluate", converted, "--data", "set").out.splitlines()
    classes = next(line for line in alone if line.startswith("class "))
    assert classes.split() == ["class", "objects", "mAP", "mAP50", "VOC", "AP50"]
    data = json.loads(adaptrt("evaluate", converted, "--data", "set/instances.json", "--json").out)
    assert set(data["results"][0]["scores"]) == {
        *("mAP", "mAP50", "mAP75", "VOC AP50", "recall"),
        *("AR1", "AR10", "AR100", "AR300", "AR1000"),
    }
    assert data["results"][0]["per_class"]


def test_a_results_file_without_scores(converted: str, adaptrt: Callable[..., Any]) -> None:
    arguments = ("evaluate", converted, "--data", "set", "--images", "set/images", "--format-only", "found.json")
    assert adaptrt(*arguments).code == 0
    found = json.loads(Path("found.json").read_text())
    assert set(found[0]) == {"image_id", "category_id", "bbox", "score"}
    assert adaptrt(*arguments).out.splitlines()[-1] == "Written: found.json"
    assert json.loads(adaptrt(*arguments, "--json").out)["written"] == ["found.json"]
    assert adaptrt(*arguments, "--score-thr", "0.9").code == 0
    fewer = json.loads(Path("found.json").read_text())
    assert len(fewer) < len(found)
    assert all(entry["score"] > 0.9 for entry in fewer)
    assert adaptrt(*arguments, "--backend", "eager,onnxruntime", *ORIGIN).code == 0
    assert {path.name for path in Path().glob("found.*.json")} == {
        "found.detector.eager.json",
        "found.detector.onnxruntime.json",
    }


def test_annotations_that_are_missing(converted: str, adaptrt: Callable[..., Any]) -> None:
    result = adaptrt("evaluate", converted, "--data", "nowhere.json")
    assert result.code == 2
    assert (
        result.err
        == "Error: Not found: nowhere.json.\n--data names labeled images, as adaptrt evaluate --help describes them.\n"
    )
    result = adaptrt("evaluate", converted, "--data", ".", "--images", "nowhere")
    assert result.err == "Error: Not found: nowhere.\nCheck the path to the folder of the images.\n"


@pytest.mark.parametrize("data", ["set", "set/instances.json"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("set/instances.json", "--format-only would overwrite the input "),
        ("./set/../set/instances.json", "--format-only would overwrite the input "),
        ("detector.onnx", "--format-only writes JSON, but detector.onnx has another suffix."),
        ("found.pkl", "--format-only writes JSON, but found.pkl has another suffix."),
    ],
)
def test_results_never_replace_what_is_evaluated(
    converted: str, adaptrt: Callable[..., Any], data: str, target: str, message: str
) -> None:
    before = Path(target).read_bytes() if Path(target).exists() else None
    result = adaptrt("evaluate", converted, "--data", data, "--format-only", target)
    assert result.code == 2
    assert message in result.err
    assert (Path(target).read_bytes() if Path(target).exists() else None) == before


def test_invalid_output_paths_are_rejected(converted: str, adaptrt: Callable[..., Any]) -> None:
    Path("file").touch()
    for flag, place in (("--show-dir", "file"), ("--show-dir", "file/x"), ("--format-only", "file/x.json")):
        result = adaptrt("evaluate", converted, "--data", "set", flag, place)
        assert result.code == 2
        assert "Error: file is not a folder.\n" in result.err


def test_missing_packages_are_reported_before_anything_is_predicted(
    converted: str, adaptrt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    result = adaptrt("evaluate", converted, "--data", "set", "--show-dir", "shown")
    assert result.code == 3
    assert "adaptrt[evaluate]" in result.err
    assert not list(Path("shown").rglob("*.jpg"))
    assert adaptrt("evaluate", converted, "--data", "set", "--format-only", "found.json").code == 0
