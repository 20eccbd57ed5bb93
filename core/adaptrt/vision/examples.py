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
    spec: ModelSpec,
    shapes: Mapping[str, tuple[int, ...]],
    seed: int,
    image: Path | None = None,
    integers: Mapping[str, tuple[int, int]] | None = None,
) -> dict[str, NDArray[Any]]:
    """One array per input, at these shapes. Consecutive seeds give different kinds of values.

    Images: row 0 with seed 0 is the unmodified image, all others are variations of it; without an image, noise. Seed 1 is
    bright and seed 2 dark. Other floats have several ranges and means (``FLOATS``). Booleans are random, prefix and suffix
    masks. Integers lie in ``integers`` (lowest and highest value by input, both included; by default 0 and 1).
    """
    rng = np.random.default_rng(seed)
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in spec.inputs:
        shape = shapes[tensor.name]
        dtype = np.dtype(tensor.dtype)
        if spec.image is not None and tensor.name == spec.image.input and len(shape) == 4:
            height, width, channels = (shape[axis] for axis in spec.image.axes)
            size = (height, width)
            batch = np.empty(shape, np.uint8 if spec.image.embedded else np.float32)
            pixels = None if image is None else read_image(image, channels)
            for row in range(shape[0]):
                if pixels is None:
                    view = image_noise(rng, size, channels)
                else:
                    view = pixels if seed == row == 0 else _vary(pixels, rng)
                transform_image(_lit(view, seed), spec.image, size, out=batch[row])
            arrays[tensor.name] = batch.astype(tensor.dtype, copy=False)
        elif np.issubdtype(dtype, np.floating):
            mean, deviation = FLOATS[seed % len(FLOATS)]
            arrays[tensor.name] = np.asarray(mean + deviation * rng.standard_normal(shape)).astype(dtype)
        elif dtype == np.bool_:
            arrays[tensor.name] = _mask(rng, shape, seed)
        else:
            low, high = (integers or {}).get(tensor.name, (0, 1))
            arrays[tensor.name] = _whole_numbers(rng, shape, low, high).astype(dtype)
    return arrays


# mean and standard deviation of float inputs, by seed: ordinary, positive, negative, large, small
FLOATS = ((0.0, 1.0), (2.0, 0.5), (-2.0, 0.5), (0.0, 10.0), (0.0, 0.05))


def _lit(view: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The image with the brightness of its seed: 1 bright, 2 dark, else unchanged."""
    if seed == 1:
        return (150 + view.astype(np.float32) * (105 / 255)).astype(np.uint8)
    return (view.astype(np.float32) * 0.3).astype(np.uint8) if seed == 2 else view


def _mask(rng: np.random.Generator, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """A mask along the last axis: random, true at the front (seed 1), or at the end (seed 2), as padding is; every row holds
    both values where it can."""
    mask: NDArray[Any] = rng.integers(0, 2, shape).astype(bool)
    size = shape[-1] if shape else 1
    if size < 2:
        return mask
    lengths = rng.integers(1, size, shape[:-1])[..., None]
    front = np.arange(size) < lengths
    if seed % 4 in (1, 2):
        return front if seed % 4 == 1 else ~front
    mixed = mask.any(-1, keepdims=True) & ~mask.all(-1, keepdims=True)
    return np.where(mixed, mask, front)


def _whole_numbers(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> NDArray[np.int64]:
    """Numbers from low to high, both of them among these where there is room."""
    numbers: NDArray[np.int64] = np.asarray(rng.integers(low, high + 1, shape))
    if numbers.size > 1:
        numbers.flat[0], numbers.flat[-1] = low, high
    return numbers


def image_noise(rng: np.random.Generator, size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    """Noise with the falling spectrum of a photograph and a few hard edges: uint8 [H, W, C].

    White noise is far from any training data, and hides differences.
    """
    if channels != 3:  # each band like the green of a separate image
        bands = [image_noise(rng, size)[..., 1] for _ in range(channels)]
        return np.stack(bands, axis=2)
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
