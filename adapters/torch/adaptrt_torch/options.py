"""``--set key=value`` of the adapter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from adaptrt.labels import LabelOptions


@dataclass(frozen=True)
class TorchOptions(LabelOptions):
    """Options for what cannot be read from the model.

    - ``args``, ``kwargs``: arguments of the factory or class: ``--set kwargs.num_classes=10``
    - ``part``: the submodule to convert, instead of the whole model: ``--set part=encoder``, ``--set part=heads.0``
    - ``dtypes``: types of inputs that are not float32: ``--set dtypes.ids=int64``
    - ``ranges``: minimum and maximum of an input in the samples: ``--set ranges.ids=[0,30521]``
    - ``strict``: whether missing or unexpected weights are an error
    - ``prefix``: prefix of the network in ``--weights``, if the file contains it more than once: ``--set prefix=generator``
    - ``image``: the image input, or ``none``; default: the only input, if it has four axes and three channels
      (an input that is named here may have any number of channels, for grayscale or multispectral images)
    - ``mean``, ``std``, ``scale``, ``resize``, ``colors``, ``library``, ``interpolation``, ``crop_fraction``:
      preprocessing of images, see ImageTransform
    - ``decoder``: decoder of the outputs
    - ``labels``: a text file with one class name per line, or a JSON list
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
    resize: Literal["letterbox", "stretch", "crop", "square"] = "stretch"
    colors: Literal["rgb", "bgr"] = "rgb"
    library: Literal["cv2", "pil", "torch"] = "cv2"
    interpolation: Literal["nearest", "linear", "cubic", "area"] = "linear"
    crop_fraction: float = 1.0
    decoder: str = "raw"
