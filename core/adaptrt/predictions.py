"""What a decoder returns, and what preprocessing remembers about an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ImageMeta:
    """Where an image lies inside the input tensor.

    Input pixel = original pixel * ``scale`` + ``offset``, each (y, x). Sizes are (height, width), in pixels.
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects found in one image, best score first.

    ``boxes``: float32 [N, 4], x1 y1 x2 y2, pixels of the original image. ``scores``: float32 [N]. ``labels``: int64 [N].
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def name(self, index: int) -> str:
        return name_of(int(self.labels[index]), self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Classification:
    """The classes of one image, most likely first. ``scores``: float32 [K]. ``labels``: int64 [K]."""

    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)

    def name(self, index: int) -> str:
        return name_of(int(self.labels[index]), self.names)


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Raw outputs for one sample, by name, the batch axis removed."""

    arrays: Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMap:
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


def name_of(label: int, names: tuple[str, ...]) -> str:
    return names[label] if 0 <= label < len(names) else str(label)
