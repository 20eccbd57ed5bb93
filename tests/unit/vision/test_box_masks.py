"""Detections with a small mask of each box."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adaptrt import DecoderSpec, ImageMeta, InputSpec, ModelError, ModelSpec, Segments
from adaptrt.specs.decoders import find_decoder
from adaptrt.vision.decoders.box_masks import paste
from adaptrt.vision.decoders.decode import decode

META = ImageMeta((100, 200), (100, 200))


def spec(**params: Any) -> ModelSpec:
    decoder = DecoderSpec("box_masks", params)
    return ModelSpec((InputSpec.image(100, 200),), task="segment", decoder=decoder, labels=("a", "b"))


def outputs() -> dict[str, np.ndarray]:
    masks = np.zeros((1, 3, 4, 4), np.float32)
    masks[0, 0] = 1
    masks[0, 1, :, 2:] = 0.7
    return {
        "num_dets": np.array([[2]], np.int32),
        "det_boxes": np.array([[[10, 20, 50, 60], [100, 10, 180, 50], [0, 0, 0, 0]]], np.float32),
        "det_scores": np.array([[0.9, 0.6, 0.0]], np.float32),
        "det_classes": np.array([[1, 0, 0]], np.int32),
        "det_masks": masks,
    }


def test_masks_fill_their_boxes() -> None:
    (found,) = decode(outputs(), [META], spec())
    assert isinstance(found, Segments)
    assert find_decoder("box_masks").predicts == "segment"
    whole, half = (mask.in_image((100, 200)) for mask in found.masks)
    assert whole[22:58, 12:48].all()
    assert not whole[:14].any()
    assert half[20:40, 145:174].all()
    assert not half[:, :135].any()
    (strict,) = decode(outputs(), [META], spec(mask_threshold=0.8))
    assert strict.masks[0].area > 1000
    assert strict.masks[1].area == 0
    (one,) = decode(outputs(), [META], spec(classes=["a"]))
    assert [mask.area for mask in one.masks] == [found.masks[1].area]


def test_a_mask_belongs_to_its_whole_box() -> None:
    """The image takes the left half of the tensor; the second box reaches into the padding, and its mask is cut, not squeezed."""
    meta = ImageMeta((100, 150), (100, 200))
    (found,) = decode(outputs(), [meta], spec())
    assert found.boxes[1].tolist() == [100, 10, 150, 50]
    columns = np.flatnonzero(found.masks[1].in_image((100, 150)).any(0))
    assert 135 <= columns[0] <= 145
    assert columns[-1] == 149


@pytest.mark.parametrize("seed", range(5))
def test_enlarging_is_grid_sample(seed: int) -> None:
    """As mmdet and detectron2 paste a mask: pixels agree except for values within a rounding error of the threshold."""
    torch = pytest.importorskip("torch", reason="compares with torch's grid_sample")
    rng = np.random.default_rng(seed)
    mask = rng.random((28, 28)).astype(np.float32)
    start = rng.uniform(-20, 60, 2)
    box = np.concatenate([start, start + rng.uniform(1, 90, 2)]).astype(np.float32)
    size = (80, 90)
    y, x = (torch.arange(side) + 0.5 for side in size)
    y, x = ((axis - box[i]) / (box[i + 2] - box[i]) * 2 - 1 for axis, i in ((y, 1), (x, 0)))
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)[None]
    values = torch.nn.functional.grid_sample(torch.from_numpy(mask)[None, None], grid, align_corners=False)[
        0, 0
    ].numpy()
    pasted = paste(mask, box, size, 0.5).in_image(size)
    reach = np.zeros(size, bool)  # mmdet fills a pixel around the box, at most
    left, top = (max(int(np.floor(side)) - 1, 0) for side in box[:2])
    reach[top : int(np.ceil(box[3])) + 1, left : int(np.ceil(box[2])) + 1] = True
    different = pasted != ((values >= 0.5) & reach)
    assert pasted.any()
    assert (np.abs(values[different] - 0.5) < 1e-5).all()


@pytest.mark.parametrize("box", [(5, 5, 5, 20), (-30, -30, -10, -10), (300, 300, 320, 320), (0, 0, 0, 0)])
def test_boxes_without_pixels(box: tuple[float, ...]) -> None:
    mask = paste(np.ones((4, 4), np.float32), np.array(box, np.float32), (100, 200), 0.5)
    assert mask.in_image((100, 200)).shape == (100, 200)


def test_what_is_no_such_output() -> None:
    given = outputs()
    with pytest.raises(ModelError, match="expects an output 'det_masks'"):
        decode({name: array for name, array in given.items() if name != "det_masks"}, [META], spec())
    with pytest.raises(ModelError, match=r"expects det_masks \[B, M, h, w\]"):
        decode({**given, "det_masks": given["det_masks"][:, :2]}, [META], spec())
