"""Images of a report, with what each backend found in them, as data inside the page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.errors import AdaptrtError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.predictions import Detections
    from adaptrt.report import ImageRecord, PredictionRecord, Report

BACKENDS = {
    "framework": "the framework itself",
    "eager": "PyTorch, untouched",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
}
LONGEST_SIDE = 1100  # pixels, of an image on the page
_QUALITY = 84


@dataclass(frozen=True)
class ClassBar:
    name: str
    score: float


@dataclass(frozen=True)
class Figure:
    """One backend's view of an image: ``image`` is a data URI where boxes can be drawn."""

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
    order = sorted(record.predictions, key=lambda backend: [*BACKENDS, backend].index(backend))
    try:
        from adaptrt.vision.images import read_image

        image = read_image(record.path)
    except AdaptrtError as error:
        figures = [_figure(backend, record.predictions[backend], None) for backend in order]
        return ImageFigures(name, tuple(figures), problem=f"{error.message} The numbers below are from the conversion.")
    kinds = {prediction.kind for prediction in record.predictions.values()}
    figures = [
        _figure(backend, record.predictions[backend], image if "detections" in kinds else None) for backend in order
    ]
    plain = None if "detections" in kinds else _data_uri(_shrunk(image, 480)[0])
    return ImageFigures(name, tuple(figures), plain, agreement=_agreement(record))


def _figure(backend: str, prediction: PredictionRecord, image: NDArray[np.uint8] | None) -> Figure:
    title = BACKENDS.get(backend, backend)
    if prediction.kind == "classification":
        bars = tuple(
            ClassBar(_name(label, prediction.names), score)
            for label, score in zip(prediction.labels[:5], prediction.scores[:5], strict=False)
        )
        return Figure(backend, title, f"{bars[0].name} {100 * bars[0].score:.1f} %" if bars else "nothing", None, bars)
    if prediction.kind == "values":
        return Figure(backend, title, f"values: {', '.join(prediction.names)}", None)
    names = [_name(label, prediction.names) for label in prediction.labels]
    found = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"
    return Figure(backend, title, found, _drawn(image, prediction) if image is not None else None)


def _drawn(image: NDArray[np.uint8], prediction: PredictionRecord) -> str:
    """The image at page size with its boxes; drawn after shrinking, so that labels stay readable."""
    from adaptrt.vision.drawing import draw_predictions

    small, scale = _shrunk(image, LONGEST_SIDE)
    return _data_uri(draw_predictions(small, _detections(prediction, scale)))


def _detections(prediction: PredictionRecord, scale: float = 1.0) -> Detections:
    import numpy as np

    from adaptrt.predictions import Detections

    boxes = np.asarray(prediction.boxes, np.float32).reshape(-1, 4) * np.float32(scale)
    scores, labels = np.asarray(prediction.scores, np.float32), np.asarray(prediction.labels, np.int64)
    return Detections(boxes, scores, labels, prediction.names)


def _shrunk(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], float]:
    from adaptrt.vision.opencv import cv2

    scale = min(1.0, longest / max(image.shape[:2]))
    if scale == 1.0:
        return image, 1.0
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale


def _data_uri(image: NDArray[np.uint8]) -> str:
    from adaptrt.vision.images import encode_jpeg

    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(image, _QUALITY)).decode()}"


def _agreement(record: ImageRecord) -> str | None:
    """How the result's boxes lie on those of the reference: numbers, since eyes cannot see a hundredth of a pixel."""
    last = next((backend for backend in ("tensorrt", "onnxruntime") if backend in record.predictions), None)
    first = record.predictions.get("eager")
    if last is None or first is None or first.kind != "detections":
        return None
    import numpy as np

    from adaptrt.verify.agreement import match_boxes

    expected, actual = _detections(first), _detections(record.predictions[last])
    pairs = match_boxes(expected, actual, 0.5)
    if not pairs:
        return "no boxes to match" if not len(expected) and not len(actual) else "no box has a partner"
    left, right = map(list, zip(*pairs, strict=True))
    apart = float(np.abs(expected.boxes[left] - actual.boxes[right]).max())
    scores = float(np.abs(expected.scores[left] - actual.scores[right]).max())
    # the record holds boxes to a thousandth of a pixel and scores to a millionth
    return (
        f"{len(pairs)} of {max(len(expected), len(actual))} boxes have a partner, "
        f"within {max(apart, 0.001):.2g} px and {max(scores, 1e-6):.1g} of its score"
    )


def _name(label: int, names: tuple[str, ...]) -> str:
    from adaptrt.predictions import name_of

    return name_of(label, names)
