"""How an image becomes an input tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from adaptrt.errors import ShapeError
from adaptrt.field_types import require_field_types

Resize = Literal["letterbox", "stretch", "crop", "square"]
Interpolation = Literal["nearest", "linear", "cubic", "area"]
Library = Literal["cv2", "pil", "torch"]


@dataclass(frozen=True)
class ImageTransform:
    """From an image, uint8 [H, W, C], to one input, float32 [C, h, w]. C is 3 for RGB, 1 for grayscale; other values: bands.

    The target size is the opt size of the last two axes of ``input``. If ``embedded``, the graph itself normalizes: ``input`` is
    uint8 [h, w, C], and only ``resize`` and ``pad`` are done before it. ``resize``:

    - ``letterbox``: keep the aspect ratio, fit inside (centered if ``center``, else top left), pad with ``pad``, a pixel
      value; ``None`` pads with zeros after the normalization
    - ``stretch``: resize to the target size, ignoring the aspect ratio
    - ``crop``: keep the aspect ratio, resize the shorter side to target / ``crop_fraction``, then center-crop
    - ``square``: center-crop the largest square, then resize it to the target size

    Then ``value * scale``, minus ``mean``, divided by ``std``, per channel, RGB in the order of ``colors``. ``mean`` and
    ``std`` have one value per channel; if all values are equal, they apply to any number of channels.
    ``library`` is the resampling to reproduce: cv2's and PIL's differ by more than rounding. ``torch`` resizes in float32,
    without rounding to pixel values, as ``torch.nn.functional.interpolate`` does without antialiasing (torchvision's detectors);
    torch itself is not needed.
    """

    input: str = "images"
    resize: Resize = "letterbox"
    interpolation: Interpolation = "linear"
    library: Library = "cv2"
    colors: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    pad: int | None = 114
    center: bool = True
    crop_fraction: float = 1.0
    stride: int = 1
    embedded: bool = False

    @property
    def axes(self) -> tuple[int, int, int]:
        """Height, width and channels among the axes of the input."""
        return (-3, -2, -1) if self.embedded else (-2, -1, -3)

    @property
    def implausible(self) -> str:
        """A sentence on a mean that no pixel can have, usually one of pixel values with the default scale; empty if there is none."""
        low, high = sorted((0.0, 255 * self.scale))
        wrong = next((mean for mean in self.mean if not low <= mean <= high), None)
        if wrong is None:
            return ""
        return (
            f"The mean {wrong:g} is outside the range of images, which is {low:g} to {high:g} after scale {self.scale:g}: "
            "set scale to 1 if mean and std are in pixel values."
        )

    def __post_init__(self) -> None:
        require_field_types(self)
        if self.stride < 1:
            raise ShapeError(f"stride must be at least 1; got {self.stride}.")
        if not 0 < self.crop_fraction <= 1:
            raise ShapeError(f"crop_fraction must be in (0, 1]; got {self.crop_fraction:g}.")
        if not all(map(math.isfinite, (self.scale, *self.mean, *self.std))) or 0 in self.std:
            raise ShapeError("scale, mean and std must be finite, and std must not be 0.")
        if not self.mean or not self.std:
            raise ShapeError("mean and std must have a value for each channel.")
        if self.embedded and self.pad is None:
            raise ShapeError("Embedded preprocessing pads with a pixel value; pad must not be None.")
        if self.library == "torch" and (self.embedded or self.interpolation == "area"):
            problem = "embedded preprocessing takes pixel values" if self.embedded else "area is not supported"
            raise ShapeError(f"library torch resizes in float32: {problem}.", hint="Use cv2 or pil.")
        if self.pad is not None and not 0 <= self.pad <= 255:
            raise ShapeError(f"pad must be a pixel value, 0 to 255; got {self.pad}.")
