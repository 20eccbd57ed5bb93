"""Weights of a micro Swin on disk, and what hooks get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("timm", reason="needs timm")


@pytest.fixture(scope="session")
def micro_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The micro Swin's weights, with a config beside them in timm's schema."""
    import torch
    from micro_swin import MICRO, NAME, micro

    path = tmp_path_factory.mktemp("weights") / "micro.pth"
    torch.save(micro().state_dict(), path)
    config = {"architecture": NAME, "num_classes": 7, "model_args": MICRO, "label_names": list("abcdefg")}
    path.with_suffix(".json").write_text(json.dumps(config))
    return path


@pytest.fixture
def conversion(tmp_path: Path) -> Callable[..., Any]:
    """``conversion(source, options={...}, weights=..., shapes=...)``."""
    from adaptrt import Conversion, Request
    from adaptrt_timm.options import TimmOptions

    def make(source: Any, options: dict[str, Any] | None = None, **request: Any) -> Conversion:
        options = options or {}
        return Conversion(Request(str(source), "swin", options=options, **request), TimmOptions(**options), tmp_path)

    return make


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn image, neither square nor of a model's size."""
    import cv2
    import draw_shapes

    path = tmp_path_factory.mktemp("images") / "shapes.png"
    image = next(iter(draw_shapes.draw_detection_images(1, 77))).image
    cv2.imwrite(str(path), cv2.resize(image, (150, 110)))
    return path
