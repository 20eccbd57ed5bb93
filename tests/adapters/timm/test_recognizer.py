"""Models of timm, recognized without timm."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.recognizing import recognized

SHAPES = Path(__file__).parents[2] / "fixtures" / "swin_shapes"


def test_sources(tmp_path: Path) -> None:
    weights = torch.zeros(1)
    files = {
        "arch": {"arch": "resnet18", "state_dict": {"conv1.weight": weights}},
        "unknown": {"arch": "no_such_model", "state_dict": {"a": weights}},
        "swin": {"model": {"layers.0.blocks.0.attn.relative_position_bias_table": weights}},
        "vit": {"blocks.0.attn.qkv.weight": weights},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
    paths = {name: str(tmp_path / f"{name}.pth") for name in files}
    folder, file = str(SHAPES), str(SHAPES / "model.safetensors")
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(Path(file).read_bytes())
    names = ["swin_tiny_patch4_window7_224.ms_in1k", "swinv2_tiny_window8_256", "resnet50.a1_in1k", "create_model", "x"]
    assert recognized("adaptrt_timm.recognizer", [folder, file, str(alone), *paths.values(), *names]) == {
        folder: [("swin", "exact")],
        file: [("swin", "exact")],  # the config.json next to it names the model
        str(alone): [("swin", "likely")],
        paths["arch"]: [("timm", "exact")],
        paths["unknown"]: [],
        paths["swin"]: [("swin", "likely")],
        paths["vit"]: [("timm", "likely")],
        "swin_tiny_patch4_window7_224.ms_in1k": [("swin", "exact")],
        "swinv2_tiny_window8_256": [("timm", "exact")],
        "resnet50.a1_in1k": [("timm", "exact")],
        "create_model": [],
        "x": [],
    }
