"""Values of the Python API as a request holds them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adaptrt.pipeline.reference import Origin
    from adaptrt.request import NmsRequest, ShapeRequest
    from adaptrt.specs.calibration import CalibrationRequest, LabeledData

StrPath = str | os.PathLike[str]


def nms_of(given: bool | str | NmsRequest) -> NmsRequest | None:
    from adaptrt.request import NmsRequest

    if isinstance(given, NmsRequest) or not given:
        return given or None
    return NmsRequest() if given is True else NmsRequest(given)  # type: ignore[arg-type]


def calibration_of(given: StrPath | CalibrationRequest | None) -> CalibrationRequest | None:
    from adaptrt.specs.calibration import CalibrationRequest

    return given if given is None or isinstance(given, CalibrationRequest) else CalibrationRequest(Path(given))


def data_of(given: StrPath | LabeledData | None) -> LabeledData | None:
    from adaptrt.specs.calibration import LabeledData

    return given if given is None or isinstance(given, LabeledData) else LabeledData(Path(given))


def path_of(value: StrPath | None) -> Path | None:
    return None if value is None else Path(value)


def texts_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """A single string counts as one item, not as a sequence of characters."""
    return (value,) if isinstance(value, str) else tuple(value)


def words_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """``"onnx,engine"``, or a sequence of its parts."""
    return tuple(word.strip() for text in texts_of(value) for word in text.split(",") if word.strip())


def paths_of(value: StrPath | Sequence[StrPath]) -> tuple[Path, ...]:
    return (Path(value),) if isinstance(value, (str, os.PathLike)) else tuple(map(Path, value))


def origin_of(
    adapter: str | None,
    source: StrPath | None,
    weights: StrPath | None,
    options: Mapping[str, Any] | None,
    trust_checkpoint: bool,
) -> Origin | None:
    """The source model, for ``eager``."""
    from adaptrt.pipeline.reference import Origin

    given = None if source is None else os.fspath(source)
    return Origin.named(adapter, given, path_of(weights), dict(options or {}), trust_checkpoint)


def shapes_of(
    shape: str | Sequence[str],
    imgsz: int | tuple[int, ...] | str | None = None,
    batch: int | tuple[int, ...] | str | None = None,
    dynamic: str | Iterable[str] | None = None,
) -> ShapeRequest:
    from adaptrt.request import ShapeRequest
    from adaptrt.specs import parse_batch, parse_dynamic, parse_imgsz, parse_shapes

    return ShapeRequest(
        imgsz=None if imgsz is None else parse_imgsz(text_of(imgsz, "x")),
        batch=None if batch is None else parse_batch(text_of(batch, ":")),
        dynamic=None if dynamic is None else parse_dynamic(text_of(dynamic, ",")),
        shapes=parse_shapes(texts_of(shape)),
    )


def text_of(value: Any, separator: str) -> str:
    if isinstance(value, str) or not isinstance(value, Iterable):
        return str(value)
    return separator.join(map(str, value))
