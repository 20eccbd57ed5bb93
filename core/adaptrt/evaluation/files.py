"""What an evaluation leaves behind on request: pictures with what was found in them, predictions as a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import OutputError
from adaptrt.predictions import Detections

if TYPE_CHECKING:
    from adaptrt.evaluation.subjects import Subject
    from adaptrt.evaluation.tasks import Example


@dataclass(frozen=True)
class Drawer:
    """Draws into ``folder/<file>.<backend>/``; boxes below ``score`` stay out of the picture."""

    folder: Path
    score: float

    def __call__(self, subject: Subject, example: Example, picture: Any, prediction: Any) -> None:
        from adaptrt.vision.drawing import draw_predictions
        from adaptrt.vision.pictures import write_image

        if isinstance(prediction, Detections):
            keep = prediction.scores > self.score
            prediction = Detections(
                prediction.boxes[keep], prediction.scores[keep], prediction.labels[keep], prediction.names
            )
        folder = self.folder / f"{subject.path.stem}.{subject.backend}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror or error}.") from error
        write_image(folder / f"{example.path.stem}.jpg", draw_predictions(picture, prediction))


@dataclass(frozen=True)
class ResultsFile:
    """Writes predictions as JSON; with ``several`` backends each gets a file, named after it."""

    path: Path
    several: bool = False

    def __call__(self, subject: Subject, records: list[dict[str, Any]]) -> None:
        name = f"{self.path.stem}.{subject.path.stem}.{subject.backend}" if self.several else self.path.stem
        path = self.path.with_name(f"{name}{self.path.suffix or '.json'}")
        try:
            path.write_text(json.dumps(records), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
