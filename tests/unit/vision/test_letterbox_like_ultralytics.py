"""Our letterbox, bit for bit what Ultralytics' predict feeds its network."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptrt.specs import ImageTransform
from adaptrt.vision.images import read_image
from adaptrt.vision.opencv import cv2
from adaptrt.vision.transforms import transform_image

ultralytics = pytest.importorskip("ultralytics", reason="compares with the letterbox of the ultralytics package")

import torch  # noqa: E402
from ultralytics.data.augment import LetterBox  # noqa: E402

ASSETS = Path(ultralytics.__file__).parent / "assets"


def ultralytics_input(bgr: np.ndarray, size: tuple[int, int], **options: object) -> np.ndarray:
    """The steps of ``BasePredictor.preprocess``."""
    boxed = torch.from_numpy(LetterBox(size, **options)(image=bgr))[None]
    return boxed.permute(0, 3, 1, 2).flip(1).contiguous().float().div_(255)[0].numpy()


@pytest.mark.parametrize("name", ["bus.jpg", "zidane.jpg"])
@pytest.mark.parametrize("size", [(640, 640), (320, 320), (800, 1216), (96, 640), (1080, 810)])
def test_photographs(name: str, size: tuple[int, int]) -> None:
    ours, _ = transform_image(read_image(ASSETS / name), ImageTransform(), size)
    np.testing.assert_array_equal(ours, ultralytics_input(cv2.imread(str(ASSETS / name)), size))


@settings(deadline=None)
@given(
    shape=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    size=st.tuples(st.integers(1, 10), st.integers(1, 10)),
    center=st.booleans(),
)
def test_any_size(shape: tuple[int, int], size: tuple[int, int], center: bool) -> None:
    bgr = np.random.default_rng(shape[0]).integers(0, 256, (*shape, 3), dtype=np.uint8)
    target = (32 * size[0], 32 * size[1])
    ours, _ = transform_image(read_image(bgr[..., ::-1]), ImageTransform(center=center), target)
    np.testing.assert_array_equal(ours, ultralytics_input(bgr, target, center=center))
