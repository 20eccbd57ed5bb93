"""How a picture becomes an input tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resize = Literal["letterbox", "stretch", "crop"]
Interpolation = Literal["nearest", "linear", "cubic", "area"]
Library = Literal["cv2", "pil"]


@dataclass(frozen=True)
class ImageTransform:
    """From a picture, uint8 [H, W, 3] RGB, to one input, float32 [3, h, w].

    The target size is the opt size of the last two axes of ``input``. ``resize``:

    - ``letterbox``: keep the ratio, fit inside (centred if ``center``, else top left), pad the rest with ``pad``, a pixel
      value; ``None`` pads with zeros after the normalisation
    - ``stretch``: to the target size, ratio ignored
    - ``crop``: keep the ratio, shorter side to target / ``crop_fraction``, then cut the middle out

    Then ``value * scale``, minus ``mean``, divided by ``std``, per channel in the order of ``colors``.
    ``library`` is the resampling to reproduce: cv2's and PIL's differ by more than rounding.
    """

    input: str = "images"
    resize: Resize = "letterbox"
    interpolation: Interpolation = "linear"
    library: Library = "cv2"
    colors: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int | None = 114
    center: bool = True
    crop_fraction: float = 1.0
    stride: int = 1
