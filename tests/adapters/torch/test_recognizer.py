"""Objects in code, programs and weights, recognized without torch."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.support.recognizing import recognized


def test_sources(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 2))
    script, weights, whole, code = (str(tmp_path / name) for name in ("a.pt", "b.pt", "c.pt", "net.py"))
    torch.jit.script(net).save(script)
    torch.save(net.state_dict(), weights)
    torch.save(net, whole)
    Path(code).write_text("class Net: ...\ndef build(): ...\n")
    names = [f"{code}:Net", "torchvision.models:resnet50", "resnet18"]
    assert recognized("adaptrt_torch.recognizer", [script, weights, whole, code, *names]) == {
        script: [("torch", "exact")],
        weights: [("torch", "likely")],
        whole: [("torch", "likely")],
        code: [("torch", "likely"), ("torch", "likely")],
        f"{code}:Net": [("torch", "exact")],
        "torchvision.models:resnet50": [("torch", "exact")],
        "resnet18": [],
    }
