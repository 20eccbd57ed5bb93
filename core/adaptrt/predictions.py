"""Predictions that decoders return, and the image metadata from preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from adaptrt.prediction_base import Prediction

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Self = TypeVar("Self", bound="Detections")


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """The position of an image in the input tensor.

    Input pixel = original pixel * ``scale`` + ``offset``, each (y, x). Sizes are (height, width), in pixels.
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Detections(Prediction):
    """Objects found in one image, sorted by descending score.

    ``boxes``: float32 [N, 4], x1 y1 x2 y2, pixels of the original image. ``scores``: float32 [N]. ``labels``: int64 [N].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """``boxes``, by the name in supervision and Ultralytics."""
        return self.boxes

    @property
    def xywh(self) -> NDArray[np.float32]:
        """Center x and y, width and height, float32 [N, 4], as in Ultralytics."""
        import numpy as np

        low, high = self.boxes[:, :2], self.boxes[:, 2:]
        return np.concatenate([(low + high) / 2, high - low], 1)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """``scores``, by the name in supervision."""
        return self.scores

    @property
    def conf(self) -> NDArray[np.float32]:
        """``scores``, by the name in Ultralytics."""
        return self.scores

    @property
    def class_id(self) -> NDArray[np.int64]:
        """``labels``, by the name in supervision."""
        return self.labels

    @property
    def cls(self) -> NDArray[np.int64]:
        """``labels``, by the name in Ultralytics."""
        return self.labels

    def name(self, index: int) -> str:
        return name_of(int(self.labels[index]), self.names)

    def at(self: Self, kept: NDArray[Any]) -> Self:
        """The objects at these indices, or where a boolean array is true."""
        import numpy as np

        indices = np.flatnonzero(kept) if kept.dtype == np.bool_ else kept
        return replace(self, **self._columns_at(indices))

    def _columns_at(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return {"boxes": self.boxes[indices], "scores": self.scores[indices], "labels": self.labels[indices]}


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """The pixels of one object: a bitmap of the size of its box.

    ``bitmap``: bool [h, w]. ``left``, ``top``: position of its upper left pixel in the original image.
    """

    bitmap: NDArray[np.bool_]
    left: int
    top: int

    @property
    def area(self) -> int:
        """In pixels."""
        return int(self.bitmap.sum())

    def in_image(self, size: tuple[int, int]) -> NDArray[np.bool_]:
        """bool [H, W], the whole image of this size (height, width)."""
        import numpy as np

        whole = np.zeros(size, np.bool_)
        height, width = self.bitmap.shape
        whole[self.top : self.top + height, self.left : self.left + width] = self.bitmap
        return whole


@dataclass(frozen=True, slots=True, eq=False)
class Segments(Detections):
    """Objects with instance masks, sorted by descending score.

    ``masks``: one for each object, inside its box. ``size``: height and width of the original image, in pixels.
    """

    masks: tuple[Mask, ...] = ()
    size: tuple[int, int] = (0, 0)

    def _columns_at(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return {**Detections._columns_at(self, indices), "masks": tuple(self.masks[index] for index in indices)}


@dataclass(frozen=True, slots=True, eq=False)
class Poses(Detections):
    """Objects with keypoints, sorted by descending score.

    ``keypoints``: float32 [N, K, 3], x and y in pixels of the original image, and the visibility, 0 to 1 (1 if the model
    does not provide it). ``skeleton``: pairs of keypoints that are connected by lines.
    """

    keypoints: NDArray[np.float32] | None = None
    skeleton: tuple[tuple[int, int], ...] = ()

    @property
    def points(self) -> NDArray[np.float32]:
        """``keypoints``; if there are none, an empty array: float32 [N, K, 3]."""
        import numpy as np

        return np.zeros((len(self.scores), 0, 3), np.float32) if self.keypoints is None else self.keypoints

    def _columns_at(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        return {**Detections._columns_at(self, indices), "keypoints": self.points[indices]}


@dataclass(frozen=True, slots=True, eq=False)
class RotatedDetections(Detections):
    """Objects in rotated boxes, sorted by descending score.

    ``rotated``: float32 [N, 5], center x and y, width, height in pixels of the original image, and the angle in radians
    from the x axis to the width, clockwise in the image. ``boxes`` are the upright boxes around them, clipped to the image.
    """

    rotated: NDArray[np.float32] | None = None

    @property
    def xyxyxyxy(self) -> NDArray[np.float32]:
        """``polygons``, by the name in supervision and Ultralytics."""
        return self.polygons

    @property
    def polygons(self) -> NDArray[np.float32]:
        """Corners, float32 [N, 4, 2], x and y; they may lie outside of the image."""
        import numpy as np

        if self.rotated is None:
            return np.zeros((0, 4, 2), np.float32)
        return corners_of(self.rotated)

    def _columns_at(self, indices: NDArray[np.int64]) -> dict[str, Any]:
        rotated = None if self.rotated is None else self.rotated[indices]
        return {**Detections._columns_at(self, indices), "rotated": rotated}


@dataclass(frozen=True, slots=True, eq=False)
class Classification(Prediction):
    """The classes of one image, sorted by descending score. ``scores``: float32 [K]. ``labels``: int64 [K]."""

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def top1(self) -> int:
        """The most likely class, by the name in Ultralytics."""
        return int(self.labels[0])

    @property
    def top1conf(self) -> float:
        """Its score."""
        return float(self.scores[0])

    @property
    def top5(self) -> list[int]:
        """The five most likely classes; fewer if the decoder returns fewer."""
        return [int(label) for label in self.labels[:5]]

    def name(self, index: int) -> str:
        return name_of(int(self.labels[index]), self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Values(Prediction):
    """Raw outputs for one sample, by name, the batch axis removed."""

    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMap(Prediction):
    """The class of each pixel of one image.

    ``labels``: uint8 or int32 [H, W], pixels of the original image. ``scores``: float32 [C], the mean score of each class
    over its pixels, if the decoder provides it.
    """

    labels: NDArray[np.uint8] | NDArray[np.int32]
    names: tuple[str, ...] = ()
    scores: NDArray[np.float32] | None = None

    def name(self, label: int) -> str:
        return name_of(label, self.names)

    def areas(self) -> dict[int, int]:
        """Pixels by class, of every class that occurs, the largest first."""
        import numpy as np

        if self.labels.dtype == np.uint8:
            counts = np.bincount(self.labels.ravel())
            labels = np.flatnonzero(counts)
            counts = counts[labels]
        else:
            labels, counts = np.unique(self.labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {int(labels[index]): int(counts[index]) for index in order}


Predictions: TypeAlias = "Any"
"""What a decoder returns for one image: the prediction type of the spec's task."""


def corners_of(rotated: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [N, 5], cx cy w h angle, to corners [N, 4, 2], in the order of Ultralytics and DOTA."""
    import numpy as np

    center, angle = rotated[:, :2], rotated[:, 4:]
    cos, sin = np.cos(angle), np.sin(angle)
    across = np.concatenate([cos, sin], 1) * (rotated[:, 2:3] / 2)
    along = np.concatenate([-sin, cos], 1) * (rotated[:, 3:4] / 2)
    corners = (center + across + along, center + across - along, center - across - along, center - across + along)
    return np.stack(corners, 1).astype(np.float32)


def name_of(label: int, names: tuple[str, ...]) -> str:
    return names[label] if 0 <= label < len(names) else str(label)


def name_in_text(name: str) -> str:
    """The name of a class beside a count or a score, where a number alone could be taken for one: ``star``, ``class 3``."""
    return f"class {name}" if name.isdecimal() else name
