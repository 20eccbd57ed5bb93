"""Classification: one folder per class; top-1 and top-5 accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.specs.tasks import Dataset, Example, Scoring

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from adaptrt.predictions import Classification
    from adaptrt.specs import ModelSpec

BEST = 5
MANY = 1 << 20  # more classes than there are
SMALLEST = 1e-12
"""The lowest score that the loss takes a logarithm of: float32 rounds lower ones to 0."""


def read_class_folders(data: Path, spec: ModelSpec, images: Path | None = None) -> Dataset:
    """``data/<class>/**/*.jpg``: each folder is named after a label of the spec, or a class index.

    Folders with other names are matched to classes in alphabetical order, as training tools number them, if there are as
    many folders as classes.
    """
    from adaptrt.vision.images import images_below

    if images is not None:
        raise UsageError(
            "--images does not apply to classification.", hint="Classification reads data/<class>/<image>.jpg"
        )
    if not data.is_dir():
        raise UsageError(f"{data} is not a folder.", hint="Specify a folder with one subfolder of images per class.")
    folders = sorted(path for path in data.iterdir() if path.is_dir() and not path.name.startswith("."))
    inside = {folder: images_below(folder) for folder in folders}
    folders = [folder for folder in folders if inside[folder]]
    if not folders:
        raise UsageError(f"{data} has no subfolder with images.", hint="Classification reads data/<class>/<image>.jpg")
    classes, note = _numbers([folder.name for folder in folders], spec.labels)
    examples = [
        Example(path, number) for folder, number in zip(folders, classes, strict=True) for path in inside[folder]
    ]
    return Dataset(tuple(examples), (note,) if note else ())


def _numbers(names: Sequence[str], labels: Sequence[str]) -> tuple[list[int], str]:
    """The class of each folder, and any assumption made."""
    known = {_plain(label): index for index, label in enumerate(labels)}
    if all(_plain(name) in known for name in names):
        return [known[_plain(name)] for name in names], ""
    by_number = all(name.isdecimal() for name in names)
    if by_number and (not labels or max(map(int, names)) < len(labels)):
        return [int(name) for name in names], ""
    strangers = [name for name in names if _plain(name) not in known]
    if len(names) == len(labels) == len(strangers) and not by_number:
        return list(range(len(names))), "no folder is named after a class: folders are numbered in alphabetical order"
    raise UsageError(
        f"The folder {strangers[0]!r} does not match a class of this model, which has {len(labels)} classes.",
        hint=f"{did_you_mean(strangers[0], labels)} Name the folders after the classes or their indices."
        if len(labels) <= 20
        else "Name the folders after the classes (adaptrt inspect lists them) or their indices.",
    )


def _plain(name: str) -> str:
    """``Golden_Retriever`` is ``golden retriever``."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


class TopScores:
    """Top-1, top-5 if there are more than five classes, and the loss: the mean cross entropy.

    The loss needs the score of every class; without that of the right one, no loss is counted.
    """

    def __init__(self, classes: int) -> None:
        self._with_best = classes > BEST or not classes
        self._seen = self._first = self._best = 0
        self._records: list[dict[str, Any]] = []
        self._losses: list[float] = []

    def add(self, truth: int, prediction: Classification) -> None:
        right = prediction.scores[prediction.labels == truth]
        if len(right):
            self._losses.append(-math.log(max(float(right[0]), SMALLEST)))
        best = [int(label) for label in prediction.labels[:BEST]]
        self._seen += 1
        self._first += best[:1] == [truth]
        self._best += truth in best
        scores = [float(score) for score in prediction.scores[:BEST]]
        self._records.append({"truth": truth, "labels": best, "scores": scores})

    def scores(self) -> dict[str, float]:
        scores = {"top-1": self._first / max(self._seen, 1)}
        return {**scores, "top-5": self._best / max(self._seen, 1)} if self._with_best else scores

    def figures(self) -> dict[str, float]:
        if not self._seen or len(self._losses) < self._seen:
            return {}
        return {"loss": math.fsum(self._losses) / self._seen}

    def per_class(self) -> dict[str, dict[str, float]]:
        return {}

    def records(self) -> list[dict[str, Any]]:
        return self._records


class ClassScoring(Scoring["Classification"]):
    """One folder per class."""

    layout = "a folder with one subfolder of images per class"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        return read_class_folders(data, spec, images)

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> TopScores:
        return TopScores(len(spec.labels))

    def answer(self, prediction: Classification) -> Any:
        return int(prediction.labels[0]) if len(prediction) else None

    def values(self, prediction: Classification) -> NDArray[np.float32]:
        """The score of each class, by its number."""
        import numpy as np

        values = np.zeros(int(prediction.labels.max(initial=-1)) + 1, np.float32)
        values[prediction.labels] = prediction.scores
        return values

    def confidence(self, truth: int, prediction: Classification) -> float:
        return float(prediction.scores[prediction.labels == truth].sum())

    def params(self, spec: ModelSpec) -> dict[str, Any]:
        """The loss needs the scores of all classes."""
        return {"top_k": len(spec.labels) or MANY}
