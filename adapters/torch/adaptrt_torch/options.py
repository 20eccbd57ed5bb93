"""``--set key=value`` of the adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from adaptrt.labels import LabelOptions


@dataclass(frozen=True)
class TorchOptions(LabelOptions):
    """What cannot be seen in the model itself.

    - ``args``, ``kwargs``: what the factory or class is called with: ``--set kwargs.num_classes=10``
    - ``part``: the sub-module to convert, instead of the whole: ``--set part=encoder``, ``--set part=heads.0``
    - ``dtypes``: types of inputs that are not float32: ``--set dtypes.ids=int64``
    - ``ranges``: lowest and highest value of an input in samples: ``--set ranges.ids=[0,30521]``
    - ``strict``: whether weights have to fit exactly
    - ``prefix``: where in ``--weights`` the network lies, if they hold it more than once: ``--set prefix=generator``
    - ``image``: the input that takes images, or ``none``; else the only input, if it has four axes and three channels
      (a named one may have any number of channels: gray, or bands out of an ``.npy`` or TIFF)
    - ``mean``, ``std``, ``scale``, ``resize``, ``colors``, ``library``, ``interpolation``: how images become that
      input, see ImageTransform
    - ``decoder``, ``labels``: what reads the outputs, and the names of the classes: a file with one a line, or a JSON list
    """

    INPUTS: ClassVar[tuple[str, ...]] = ()

    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    part: str | None = None
    dtypes: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    strict: bool = True
    prefix: str | None = None
    image: str | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1 / 255
    resize: Literal["letterbox", "stretch", "crop"] = "stretch"
    colors: Literal["rgb", "bgr"] = "rgb"
    library: Literal["cv2", "pil"] = "cv2"
    interpolation: Literal["nearest", "linear", "cubic", "area"] = "linear"
    decoder: str = "raw"
