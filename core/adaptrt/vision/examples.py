"""Example inputs: variations of a real image, or image-like noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from adaptrt.vision.images import read_image
from adaptrt.vision.transforms import transform_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from adaptrt.specs import ModelSpec


def example_arrays(
    spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int, image: Path | None = None
) -> dict[str, NDArray[Any]]:
    """One array per input, at these shapes. Row 0 with seed 0 is the unmodified image; all others are variations of it.

    Inputs other than images get standard normal values, or 0 and 1 for integers and booleans.
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in spec.inputs:
        shape = shapes[tensor.name]
        if spec.image is not None and tensor.name == spec.image.input and len(shape) == 4 and shape[1] == 3:
            size = (shape[2], shape[3])
            batch = np.empty(shape, np.float32)
            pixels = None if image is None else read_image(image)
            for row in range(shape[0]):
                view = image_noise(rng, size) if pixels is None else pixels if seed == row == 0 else _vary(pixels, rng)
                transform_image(view, spec.image, size, out=batch[row])
            arrays[tensor.name] = batch.astype(tensor.dtype, copy=False)
        elif np.issubdtype(np.dtype(tensor.dtype), np.floating):
            arrays[tensor.name] = rng.standard_normal(shape).astype(tensor.dtype)
        else:
            arrays[tensor.name] = rng.integers(0, 2, shape).astype(tensor.dtype)
    return arrays


def image_noise(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Noise with the falling spectrum of a photograph and a few hard edges: uint8 [H, W, 3].

    White noise is far from any training data, and hides differences.
    """
    height, width = size
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 8):
        grid = rng.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        image += np.asarray(cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)) / np.float32(1.6**octave)
    low, high = image.min(), image.max()
    pixels: NDArray[np.uint8] = ((image - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    for _ in range(6):
        center = (int(rng.integers(width)), int(rng.integers(height)))
        axes = (int(rng.integers(1, max(2, width // 5))), int(rng.integers(1, max(2, height // 5))))
        color = tuple(int(value) for value in rng.integers(0, 256, 3))
        cv2.ellipse(pixels, center, axes, float(rng.integers(180)), 0, 360, color, -1)
    return pixels


def _vary(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random flip, brightness change and crop of the image."""
    height, width = image.shape[:2]
    top, left = (int(rng.integers(0, side // 5 + 1)) for side in (height, width))
    view = image[top : top + max(1, height * 4 // 5), left : left + max(1, width * 4 // 5)]
    if rng.random() < 0.5:
        view = view[:, ::-1]
    gain = float(rng.uniform(0.7, 1.2))
    varied: NDArray[np.uint8] = np.clip(view * gain, 0, 255).astype(np.uint8)
    return varied
