"""Checkpoints of the adapter's tests: the trained one, and others made from Ultralytics' own configs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from adaptrt import Report

os.environ.setdefault("YOLO_AUTOINSTALL", "False")
pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("ultralytics", reason="needs ultralytics")

TESTS = Path(__file__).parents[3]
WEIGHTS = TESTS.parents[1] / "shared" / "weights"


@pytest.fixture(scope="session")
def trained() -> Path:
    """The YOLOv5n of the new family, trained on the project's own images."""
    return TESTS / "fixtures" / "yolov5n_shapes.pt"


@pytest.fixture(scope="session")
def classic() -> Path:
    """A user's classic checkpoint."""
    path = WEIGHTS / "yolov5n_ppe.pt"
    if not path.is_file():
        pytest.skip("../shared/weights/yolov5n_ppe.pt is not here")
    return path


@pytest.fixture(scope="session")
def shapes_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A held-out image with several objects."""
    import cv2
    import draw_shapes

    image = next(iter(draw_shapes.draw_detection_images(1, 77)))
    path = tmp_path_factory.mktemp("images") / "shapes.png"
    cv2.imwrite(str(path), image.image)
    return path


@pytest.fixture(scope="session")
def bus() -> Path:
    from ultralytics.utils import ASSETS

    return Path(ASSETS) / "bus.jpg"


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A checkpoint of a config's architecture with perturbed weights, saved by Ultralytics itself."""
    import torch
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("checkpoints")

    def make(name: str) -> Path:
        path = folder / f"{name}.pt"
        if path.is_file():
            return path
        yolo: Any = YOLO(f"{name}.yaml")
        generator = torch.Generator().manual_seed(0)
        for key, value in yolo.model.state_dict().items():
            if "running_var" in key:
                value.copy_(1 + torch.rand(value.shape, generator=generator) / 2)
            elif value.dtype.is_floating_point and value.ndim and "dfl" not in key:
                value.add_(torch.randn(value.shape, generator=generator) * 0.02)
        yolo.save(path)
        return path

    return make


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory, trained: Path, shapes_image: Path) -> Report:
    """The trained checkpoint, converted once with everything verified."""
    import adaptrt

    return adaptrt.convert(
        trained,
        adapter="yolov5",
        output=tmp_path_factory.mktemp("converted"),
        image=shapes_image,
        batch=(1, 2, 4),
        html=False,
    )
