"""Configs and checkpoints of MMDetection, recognized without mmdet."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.recognizing import recognized

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_sources(tmp_path: Path) -> None:
    texts = {
        "base": "model = dict(type='RTMDet', init=load())",
        "based": "_base_ = './base.py'\nlr = 1",
        "circle": "_base_ = ['circle.py']",
        "lazy": "from mmdet import FCOS\nmodel = dict(type='mmdet.FCOS')",
        "other": "model = dict(type='FasterRCNN')",
        "code": "kind = choose()\nmodel = dict(type=5)",
        "script": "def build(): ...",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    paths = {name: str(tmp_path / f"{name}.py") for name in texts}
    raw = str(tmp_path / "raw.pth")
    torch.save({"meta": {"mmengine_version": "0.10"}, "state_dict": {"w": torch.zeros(1)}}, raw)
    trained, config = str(FIXTURES / "detr_shapes.pth"), str(FIXTURES / "detr_shapes.py")
    names = ["detr_r50_8xb2-150e_coco", "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py", "default_runtime", "*"]
    assert recognized("adaptrt_mmdet.recognizer", [trained, config, raw, *paths.values(), *names]) == {
        trained: [("detr", "exact")],
        config: [("detr", "exact")],
        raw: [("detr", "likely"), ("mmdet", "likely")],
        paths["base"]: [("mmdet", "exact")],
        paths["based"]: [("mmdet", "exact")],
        paths["circle"]: [],
        paths["lazy"]: [("mmdet", "exact")],
        paths["other"]: [("mmdet", "likely")],
        paths["code"]: [("detr", "likely"), ("mmdet", "likely")],
        paths["script"]: [],
        "detr_r50_8xb2-150e_coco": [("detr", "exact")],
        "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py": [("mmdet", "exact")],
        "default_runtime": [],
        "*": [],
    }
