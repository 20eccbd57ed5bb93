"""Parameters shared by box decoders, and their checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from adaptrt.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class DetectionParams:
    """Thresholds, with the defaults of Ultralytics' predict.

    - ``conf``: score threshold, 0 to 1; detections with higher scores are kept
    - ``iou``: IoU threshold of NMS, 0 to 1; ``null``: no NMS
    - ``max_det``: maximum number of detections per image
    - ``agnostic``: apply NMS across classes instead of within each class
    - ``classes``: keep only these classes, by index or label; default: all
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"nms": "iou"}

    conf: float = 0.25
    iou: float | None = 0.7
    max_det: int = 300
    agnostic: bool = False
    classes: tuple[int | str, ...] | None = None

    def __post_init__(self) -> None:
        check_fraction("conf", self.conf)
        if self.iou is not None:
            check_fraction("iou", self.iou)
        check_count("max_det", self.max_det)

    @classmethod
    def upgrade(cls, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parameters of a version 1 spec under their current names."""
        return {cls.RENAMED.get(name, name): value for name, value in params.items()}


@dataclass(frozen=True)
class UnsuppressedParams(DetectionParams):
    """Selection of the boxes that the model returns.

    - ``iou``: IoU threshold of NMS, 0 to 1; default: no NMS
    - ``agnostic``: with ``iou``, apply NMS across classes instead of within each class
    """

    iou: float | None = None


def check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise UsageError(f"{name} must be between 0 and 1; got {value}.", hint=f"For example: --set {name}=0.5")


def check_count(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} must be at least 1; got {value}.", hint=f"For example: --set {name}=5")


def class_filter(classes: tuple[int | str, ...] | None, labels: tuple[str, ...]) -> NDArray[np.int64] | None:
    """The requested class indices; an unknown label is a ``UsageError``."""
    if classes is None:
        return None
    return np.array([_class_number(wanted, labels) for wanted in classes], np.int64)


def _class_number(wanted: int | str, labels: tuple[str, ...]) -> int:
    if wanted in labels:
        return labels.index(str(wanted))
    if isinstance(wanted, str) and not wanted.isdecimal():
        raise UsageError(f"Unknown class {wanted!r}.", hint=did_you_mean(wanted, labels))
    number = int(wanted)
    if number < 0 or (labels and number >= len(labels)):
        raise UsageError(f"Unknown class {number}.", hint=f"The classes are 0 to {len(labels) - 1}.")
    return number
