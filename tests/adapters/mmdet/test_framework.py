"""Images as mmdet's own pipeline resizes them for link 0."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from narrow_detr import CONFIG, NARROW

from adaptrt_mmdet.configs import load_config
from adaptrt_mmdet.framework import adjusted_pipeline


@pytest.fixture(scope="module")
def source() -> Any:
    return SimpleNamespace(config=load_config(str(CONFIG), NARROW))


def prepared(steps: list[Any], height: int, width: int) -> Any:
    from mmcv.transforms import Compose
    from mmengine.registry import DefaultScope

    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    with DefaultScope.overwrite_default_scope("mmdet"):
        import mmdet.datasets.transforms  # noqa: F401  # registers them

        return Compose(steps)({"img": image, "img_id": 0, "instances": []})


def resized(steps: list[Any], height: int, width: int) -> np.ndarray[Any, Any]:
    sample = prepared(steps, height, width)
    pixels: np.ndarray[Any, Any] = sample["inputs"].numpy()
    assert sample["data_samples"].scale_factor == (pixels.shape[2] / width, pixels.shape[1] / height)
    return pixels


@pytest.mark.parametrize(("height", "width"), [(378, 362), (400, 100), (97, 96), (240, 320), (100, 400)])
@pytest.mark.parametrize("size", [(96, 128), (128, 96)])
def test_an_image_is_as_large_as_fits(source: Any, size: tuple[int, int], height: int, width: int) -> None:
    found = resized(adjusted_pipeline(source, size, stretch=False, arrays=True), height, width)
    factor = min(size[0] / height, size[1] / width)
    assert found.shape == (3, int(height * factor + 0.5), int(width * factor + 0.5))
    assert found.shape[1] <= size[0]
    assert found.shape[2] <= size[1]


@pytest.mark.parametrize(("height", "width"), [(240, 320), (100, 400), (96, 97)])
def test_a_landscape_image_is_resized_as_mmdet_does(source: Any, height: int, width: int) -> None:
    steps = adjusted_pipeline(source, (96, 128), stretch=False, arrays=True)
    theirs = [
        {"type": "Resize", "scale": (128, 96), "keep_ratio": True} if not isinstance(step, dict) else step
        for step in steps
    ]
    assert theirs != steps
    assert np.array_equal(resized(steps, height, width), resized(theirs, height, width))


@pytest.mark.parametrize("own", [{"size_divisor": 32}, {"pad_to_square": True}, {"size": (64, 64)}], ids=str)
def test_a_step_that_pads_fills_the_input(own: dict[str, Any]) -> None:
    """Whatever the config pads to: mmcv takes only one of the three."""
    steps = [
        {"type": "LoadImageFromFile"},
        {"type": "Resize", "scale": (640, 480), "keep_ratio": True},
        {"type": "Pad", **own, "pad_val": {"img": (114.0, 114.0, 114.0)}},
        {"type": "PackDetInputs"},
    ]
    source: Any = SimpleNamespace(config={"test_pipeline": steps})
    adjusted = adjusted_pipeline(source, (96, 128), stretch=False, arrays=True)
    assert prepared(adjusted, 240, 240)["inputs"].shape == (3, 96, 128)
