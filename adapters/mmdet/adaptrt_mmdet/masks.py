"""Images that keep their aspect ratio, and the padding mask. Requires only numpy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt import Conversion, ImageMeta, ModelSpec
from adaptrt.vision.transforms import transform_image

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def masked_image(
    image: NDArray[np.uint8], spec: ModelSpec, size: tuple[int, int] | None = None
) -> tuple[Mapping[str, NDArray[Any]], ImageMeta]:
    """The image top left, float32 [1, 3, H, W], and its mask, float32 [1, H, W], 1 where padded."""
    assert spec.image is not None
    size = size or spec.image_size
    pixels, meta = transform_image(image, spec.image, size)
    masks = np.ones((1, *size), np.float32)
    height, width = (round(side * scale) for side, scale in zip(meta.original_size, meta.scale, strict=True))
    masks[:, :height, :width] = 0
    return {spec.inputs[0].name: pixels[None], spec.inputs[1].name: masks}, meta


def masked_examples(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, torch.Tensor]:
    """``--image``, or image-like noise, with a different aspect ratio in each row of a batch."""
    import torch

    from adaptrt.vision.examples import image_noise
    from adaptrt.vision.images import read_image

    rng = np.random.default_rng(seed + ctx.request.seed)
    count, _, height, width = shapes[spec.inputs[0].name]
    given = read_image(ctx.request.image) if ctx.request.image is not None else None
    rows = []
    for row in range(count):
        sides = (int(rng.integers(height // 2, height + 1)), int(rng.integers(width // 2, width + 1)))
        image = given if given is not None and row == seed == 0 else None
        if image is None:
            image = image_noise(rng, sides) if given is None else given[: sides[0] * 2, : sides[1] * 2]
        rows.append(masked_image(image, spec, (height, width))[0])
    return {name: torch.from_numpy(np.concatenate([arrays[name] for arrays in rows])) for name in rows[0]}
