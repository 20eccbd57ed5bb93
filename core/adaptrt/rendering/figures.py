"""Images of a report, with what each backend found in them, as data inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import AdaptrtError
from adaptrt.specs import task_named
from adaptrt.specs.backends import backend_title

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.report import ImageRecord, PredictionRecord, Report

ORIGINAL = {"framework": "framework", "eager": "PyTorch, original"}
LONGEST_SIDE = 1100  # pixels, of an image on the page
BARS = 5  # of one figure
_QUALITY = 84


@dataclass(frozen=True)
class ClassBar:
    name: str
    score: float


@dataclass(frozen=True)
class Figure:
    """One backend's predictions for an image: ``image`` is a data URI where predictions are drawn; ``classes`` are bars instead."""

    backend: str
    title: str
    found: str
    image: str | None
    classes: tuple[ClassBar, ...] = ()


@dataclass(frozen=True)
class ImageFigures:
    """An image and its figures; ``problem`` says why it could not be drawn, ``agreement`` how close the two are."""

    name: str
    figures: tuple[Figure, ...]
    plain: str | None = None
    problem: str | None = None
    agreement: str | None = None


def image_figures(report: Report) -> list[ImageFigures]:
    return [_figures(record) for record in report.images]


def _figures(record: ImageRecord) -> ImageFigures:
    name = Path(record.path).name
    order = _order(record)
    try:
        from adaptrt.vision.images import for_display, read_image

        image = for_display(read_image(record.path, None))
    except AdaptrtError as error:
        figures = [_figure(backend, record.predictions[backend], None) for backend in order]
        return ImageFigures(name, tuple(figures), problem=f"{error.message} The numbers below are from the conversion.")
    figures = [_figure(backend, record.predictions[backend], image) for backend in order]
    plain = None if all(figure.image for figure in figures) else _data_uri(_shrunk(image, 480))
    return ImageFigures(name, tuple(figures), plain, agreement=_agreement(record))


def _order(record: ImageRecord) -> list[str]:
    """The original first, then the converted forms in order of conversion."""
    first = [name for name in ORIGINAL if name in record.predictions]
    return [*first, *(name for name in record.predictions if name not in ORIGINAL)]


def _title(backend: str) -> str:
    return ORIGINAL[backend] if backend in ORIGINAL else backend_title(backend)


def _figure(backend: str, record: PredictionRecord, image: NDArray[np.uint8] | None) -> Figure:
    title = _title(backend)
    try:
        task = task_named(record.task)
        prediction = task.read_record(record.data)
    except AdaptrtError as error:
        return Figure(backend, title, f"{record.found or record.task} ({error.message})", None)
    if prediction is None:
        return Figure(backend, title, record.found, None)
    found = record.found or task.describe(prediction)
    bars = tuple(ClassBar(name, share) for name, share in task.bars(prediction)[:BARS])
    if bars or image is None or not task.draws:
        return Figure(backend, title, found, None, bars)
    return Figure(backend, title, found, _data_uri(_shrunk(task.draw(image, prediction), LONGEST_SIDE)))


def _shrunk(image: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    from adaptrt.vision.opencv import cv2

    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1.0:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrunk: NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return shrunk


def _data_uri(image: NDArray[np.uint8]) -> str:
    from adaptrt.vision.images import encode_jpeg

    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, _QUALITY)).decode()}"


def _agreement(record: ImageRecord) -> str | None:
    """How close the result's prediction is to that of the reference."""
    first, last = record.predictions.get("eager"), _order(record)[-1:]
    if not first or not last or last[0] in ORIGINAL or record.predictions[last[0]].task != first.task:
        return None
    try:
        task = task_named(first.task)
        expected, actual = task.read_record(first.data), task.read_record(record.predictions[last[0]].data)
    except AdaptrtError:  # the figures report it
        return None
    return task.agreement(expected, actual) or None if expected is not None and actual is not None else None
