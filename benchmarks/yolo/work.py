"""Shared by the stages for YOLOv5: the checkpoints, the engines, the folder, the unpatched network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.work import ROOT
from benchmarks.gpu.work import Work as Folder

FIXTURE = ROOT / "tests" / "fixtures" / "yolov5n_shapes.pt"
IMAGES, SEED = 200, 1002  # of the held-out set
SHAPES: dict[str, dict[str, Any]] = {
    "static": {"batch": 8, "dynamic": "none"},
    "batch": {"batch": "1:8:32"},
    "batch_hw": {"shape": "images=1..8@4x3x320..960@640x320..960@640"},
}
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class Case:
    """One engine: the family, what is dynamic, the precision."""

    family: str
    shapes: str
    precision: str

    @property
    def graph(self) -> str:
        return f"{self.family}_{self.shapes}"

    def __str__(self) -> str:
        return f"{self.graph}_{self.precision}"


class Work(Folder):
    """Both families, and the photographs."""

    folders = (*Folder.folders, "photos")

    @property
    def families(self) -> list[str]:
        return [family for family in ("new", "classic") if self.onnx(f"{family}_static").exists()]

    @property
    def cases(self) -> list[Case]:
        return [Case(f, shapes, precision) for f in self.families for shapes in SHAPES for precision in PRECISIONS]

    def checkpoint(self, family: str) -> Path:
        return FIXTURE if family == "new" else Path(self.options.classic)


def eager_network(work: Work, family: str) -> Any:
    """The unpatched network, from its checkpoint: images [B, 3, H, W] to output0."""
    import torch

    if family == "new":
        from adaptrt_ultralytics.new_family import DecodedOutput
        from adaptrt_ultralytics.rebuild import load_new_family

        network: Any = DecodedOutput(load_new_family(work.checkpoint(family)))
    else:
        from adaptrt_ultralytics.classic.model import load_classic

        network = load_classic(work.checkpoint(family))
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    assert isinstance(network, torch.nn.Module)
    return network.eval().cuda()
