"""Configs and checkpoints of MMDetection, recognized without mmdet."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tests.support.recognizing import recognized

from adaptrt_mmdet.recognizer import DETECTORS, QUERIES

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_sources(tmp_path: Path) -> None:
    texts = {
        "base": "model = dict(type='RTMDet', init=load())",
        "based": "_base_ = './base.py'\nlr = 1",
        "circle": "_base_ = ['circle.py']",
        "lazy": "from mmdet import FCOS\nmodel = dict(type='mmdet.FCOS')",
        "two": "model = dict(type='FasterRCNN')",
        "other": "model = dict(type='SparseRCNN')",
        "code": "kind = choose()\nmodel = dict(type=5)",
        "script": "def build(): ...",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    paths = {name: str(tmp_path / f"{name}.py") for name in texts}
    raw = str(tmp_path / "raw.pth")
    torch.save({"meta": {"mmengine_version": "0.10"}, "state_dict": {"w": torch.zeros(1)}}, raw)
    trained, config = str(FIXTURES / "detr_shapes.pth"), str(FIXTURES / "detr_shapes.py")
    masks = str(FIXTURES / "mask_rcnn_shapes.pth")
    names = ["detr_r50_8xb2-150e_coco", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py", "default_runtime", "*"]
    assert recognized("adaptrt_mmdet.recognizer", [trained, masks, config, raw, *paths.values(), *names]) == {
        trained: [("detr", "exact")],
        masks: [("mmdet", "exact")],
        config: [("detr", "exact")],
        raw: [("detr", "likely"), ("mmdet", "likely")],
        paths["base"]: [("mmdet", "exact")],
        paths["based"]: [("mmdet", "exact")],
        paths["circle"]: [],
        paths["lazy"]: [("mmdet", "exact")],
        paths["two"]: [("mmdet", "exact")],
        paths["other"]: [("mmdet", "likely")],
        paths["code"]: [("detr", "likely"), ("mmdet", "likely")],
        paths["script"]: [],
        "detr_r50_8xb2-150e_coco": [("detr", "exact")],
        "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py": [("mmdet", "exact")],
        "default_runtime": [],
        "*": [],
    }


def test_every_detector_that_was_converted_is_recognized() -> None:
    folders = json.loads((RESULTS / "mmdet_families.json").read_text())["folders"].values()
    converted = {one["detector"] for one in folders if (one.get("converted") or {}).get("passed")}
    for name, one in json.loads((RESULTS / "detr_family.json").read_text())["models"].items():
        if one["adapter"] == "detr" and one["torchscript"]["passed"]:
            converted.add(name.partition(",")[0].replace("-", ""))
    assert converted == DETECTORS | QUERIES
