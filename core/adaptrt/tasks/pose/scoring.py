"""Keypoints: COCO's mAP by object keypoint similarity, and of boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptrt.errors import UsageError
from adaptrt.specs.tasks import Dataset, Scoring
from adaptrt.tasks.detect.coco import read_coco
from adaptrt.tasks.detect.scoring import BoxScores, BoxScoring
from adaptrt.tasks.pose.similarity import sigmas

if TYPE_CHECKING:
    from adaptrt.predictions import Poses
    from adaptrt.specs import ModelSpec


class KeypointScores(BoxScores):
    """Collects keypoints as COCO results."""

    kind = "keypoints"

    def __init__(self, truth: Any) -> None:
        super().__init__(truth)
        self._boxes = BoxScores(truth)
        counts = {len(entry["keypoints"]) // 3 for entry in truth.document["annotations"]}
        self._count = counts.pop() if counts else 0

    def add(self, truth: Any, prediction: Poses) -> None:  # type: ignore[override]
        if len(prediction) and self._count and prediction.points.shape[1] != self._count:
            raise UsageError(
                f"The model gives {prediction.points.shape[1]} keypoints, the annotations have {self._count}.",
                hint="Annotations and model must have the same keypoints, in the same order.",
            )
        super().add(truth, prediction)
        self._boxes.add(truth, prediction)

    def added(self, prediction: Poses, index: int) -> dict[str, Any]:
        return {"keypoints": [float(value) for value in prediction.points[index].ravel()]}

    def settings(self) -> dict[str, Any]:
        return {"kpt_oks_sigmas": sigmas(self._count).tolist()}

    def scores(self) -> dict[str, float]:
        poses = {f"pose {name}": value for name, value in self.precisions().items()}
        return poses | {f"box {name}": value for name, value in self._boxes.precisions().items()}

    def per_class(self) -> dict[str, dict[str, float]]:
        """Of every class that occurs: objects, mAP and mAP50 of keypoints."""
        return self.class_precisions()


class KeypointScoring(Scoring["Poses"]):
    """COCO annotations with keypoints."""

    layout = "a COCO annotation file (.json) with keypoints, or its folder; --images names the folder of the images"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        dataset = read_coco(data, spec, images)
        lengths = set()
        for entry in dataset.context.document["annotations"]:
            given = entry.get("keypoints")
            if not isinstance(given, list) or len(given) % 3 or not given or not all(map(_is_number, given)):
                raise UsageError(
                    f"The keypoints of annotation {entry['id']} are missing or not valid.",
                    hint="COCO: x, y and visibility (0, 1 or 2) of each keypoint.",
                )
            entry["num_keypoints"] = sum(value > 0 for value in given[2::3])
            lengths.add(len(given))
        if len(lengths) > 1:
            raise UsageError(f"Annotations differ in their number of keypoints: {sorted(n // 3 for n in lengths)}.")
        return dataset

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> KeypointScores:
        return KeypointScores(dataset.context)

    def answer(self, prediction: Poses) -> Any:
        return BoxScoring().answer(prediction)

    def params(self, spec: ModelSpec) -> dict[str, Any]:
        return BoxScoring().params(spec)

    def require(self) -> None:
        BoxScoring().require()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6
