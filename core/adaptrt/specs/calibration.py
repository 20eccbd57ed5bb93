"""What activation ranges are measured on, as requested and as read, and the labeled images that the result is judged on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.specs.argument_types import require_argument_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

Inputs = Mapping[str, "NDArray[Any]"]
CalibrationMethod = Literal["minmax", "entropy", "percentile"]


def _require_types(given: Any, *names: str) -> None:
    """Text becomes a path, as in the rest of the Python API; other types of fields are errors."""
    for name in names:
        if isinstance(getattr(given, name), (str, os.PathLike)):
            object.__setattr__(given, name, Path(getattr(given, name)))
    require_argument_fields(given)


@dataclass(frozen=True)
class CalibrationRequest:
    """The images on which activation ranges for int8 are measured, and the method.

    ``source`` is a folder of images, a text file with one path per line, or an ``.npz`` file with preprocessed inputs. At
    most ``images`` of it are used, spread evenly, ``batch`` at a time. ``cache`` keeps the ranges for identical runs.
    """

    source: Path
    images: int = 256
    batch: int = 1
    method: CalibrationMethod = "minmax"
    cache: Path | None = None

    def __post_init__(self) -> None:
        _require_types(self, "source", "cache")
        known = get_args(CalibrationMethod)
        if self.method not in known:
            raise UsageError(
                f"Unknown calibration method {self.method!r}.", hint=did_you_mean(str(self.method), list(known))
            )
        for name, value in (("number of calibration images", self.images), ("batch of the calibration", self.batch)):
            if value < 1:
                raise UsageError(f"The {name} must be at least 1; got {value}.", hint="For example: 8")


@dataclass(frozen=True)
class LabeledData:
    """Labeled images to score an int8 model and the original on, as for ``adaptrt evaluate``.

    ``images`` is the folder of the images, if it is not that of the labels. The task's main score may be at most ``max_loss``
    points (of 100) below that of the original. At most ``limit`` images are used, spread evenly.
    """

    source: Path
    images: Path | None = None
    max_loss: float = 1.0
    limit: int | None = None

    def __post_init__(self) -> None:
        _require_types(self, "source", "images")
        if not 0 <= self.max_loss <= 100:
            raise UsageError(
                f"The largest loss must be between 0 and 100 points; got {self.max_loss:g}.", hint="For example: 0.5"
            )
        if self.limit is not None and self.limit < 1:
            raise UsageError(
                f"The limit of labeled images must be at least 1; got {self.limit}.", hint="For example: 200"
            )


@dataclass(frozen=True, kw_only=True)
class CalibrationData:
    """Preprocessed inputs, read on demand: ``read(index)`` returns batch ``index`` of ``batches``, by input name.

    ``count`` is the number of images (or rows of an .npz file) in all batches, ``title`` describes them, and ``digest`` is
    a hash of their content and preprocessing. ``probe(index)`` reads one of ``probes`` further inputs that ranges are not
    measured on: what the model sees later.
    """

    count: int
    batches: int
    read: Callable[[int], Inputs]
    digest: str
    title: str
    probes: int = 0
    probe: Callable[[int], Inputs] | None = None

    def __iter__(self) -> Iterator[Inputs]:
        return map(self.read, range(self.batches))

    def probed(self) -> Iterator[Inputs]:
        """The further inputs."""
        return map(self.probe, range(self.probes)) if self.probe is not None else iter(())
