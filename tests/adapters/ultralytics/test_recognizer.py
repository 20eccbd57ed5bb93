"""Checkpoints and config names of Ultralytics, recognized without ultralytics."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from tests.support.recognizing import recognized

FIXTURE = Path(__file__).parents[2] / "fixtures" / "yolov5n_shapes.pt"


def saved(path: Path, module: str, kind: str, monkeypatch: pytest.MonkeyPatch, **attributes: object) -> str:
    """A checkpoint of a network of this class, which exists only while it is saved."""
    made = type(kind, (torch.nn.Module,), {"__module__": module})
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(parts[end - 1]))
    setattr(sys.modules[module], kind, made)
    network = made()
    network.layer = torch.nn.Linear(1, 1)
    for name, value in attributes.items():
        setattr(network, name, value)
    torch.save({"model": network, "train_args": {"model": "folder/yolov5s.pt"}}, path)
    return str(path)


def test_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as pretend:
        new = "ultralytics.nn.tasks"
        v8 = saved(tmp_path / "a.pt", new, "DetectionModel", pretend, yaml={"yaml_file": "yolov8n.yaml"})
        trained = saved(tmp_path / "b.pt", new, "DetectionModel", pretend)
        segment = saved(tmp_path / "c.pt", new, "SegmentationModel", pretend, yaml={"yaml_file": "yolo11n-seg.yaml"})
        world = saved(tmp_path / "f.pt", new, "WorldModel", pretend, yaml={"yaml_file": "yolov8s-world.yaml"})
        classic = saved(tmp_path / "d.pt", "models.yolo", "DetectionModel", pretend)
        foreign = saved(tmp_path / "e.pt", "somewhere.nets", "DetectionModel", pretend)
    weights = str(tmp_path / "weights.pt")
    torch.save({"model": {"w": torch.zeros(1)}}, weights)
    names = ["yolov8n.yaml", "yolo11s", "yolov5nu", "yolo26n-seg", "yolo_nas", "resnet18"]
    assert recognized("adaptrt_ultralytics.recognizer", [str(FIXTURE), v8, trained, segment, world, classic, foreign, weights, *names]) == {
        str(FIXTURE): [("yolov5", "exact")],
        v8: [("yolo", "exact")],
        trained: [("yolov5", "exact")],
        segment: [("yolo", "exact")],
        world: [("yolo", "none")],
        classic: [("yolov5", "exact")],
        foreign: [],
        weights: [],
        "yolov8n.yaml": [("yolo", "exact")],
        "yolo11s": [("yolo", "exact")],
        "yolov5nu": [("yolov5", "exact")],
        "yolo26n-seg": [("yolo", "exact")],
        "yolo_nas": [],
        "resnet18": [],
    }  # fmt: skip
