"""Detection: COCO's mAP and recall by faster-coco-eval, VOC's AP at IoU 0.5, class by class."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from adaptrt.errors import DependencyError
from adaptrt.options import takes_option
from adaptrt.specs.decoders import decoder_of
from adaptrt.specs.tasks import Dataset, Scoring
from adaptrt.tasks.detect.average_precision import voc_average_precisions
from adaptrt.tasks.detect.coco import CocoTruth, read_coco
from adaptrt.tasks.detect.voc import is_voc, read_voc
from adaptrt.tasks.detect.yolo_dataset import SUFFIXES, read_yolo

if TYPE_CHECKING:
    from pathlib import Path

    from adaptrt.predictions import Detections
    from adaptrt.specs import ModelSpec

D = TypeVar("D", bound="Detections")

LOWEST = 0.001
"""The score above which boxes count: mAP needs all of them, but the number must be bounded."""
_CONFIDENT = 0.25
RECALL_AT = (1, 10, 100, 300, 1000)
"""How many objects of an image count for average recall."""


class BoxScores:
    """Collects boxes as COCO results; boxes [x, y, w, h] in pixels of the original image.

    ``kind`` is what overlaps are measured of, in COCO's words. A task adds what it knows of an object with ``added``.
    """

    kind = "bbox"

    def __init__(self, truth: CocoTruth) -> None:
        self._truth = truth
        self._seen: list[Any] = []
        self._results: list[dict[str, Any]] = []
        self._evaluations: dict[bool, Any] = {}

    def add(self, truth: Any, prediction: Detections) -> None:
        self._evaluations.clear()
        self._seen.append(truth)
        for index, (box, score, label) in enumerate(
            zip(prediction.boxes, prediction.scores, prediction.labels, strict=True)
        ):
            x1, y1, x2, y2 = (float(side) for side in box)
            self._results.append(
                {
                    "image_id": truth,
                    "category_id": self._truth.categories[int(label)],
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "score": float(score),
                    **self.added(prediction, index),
                }
            )

    def added(self, prediction: Any, index: int) -> dict[str, Any]:
        """Further entries of an object's result."""
        return {}

    def records(self) -> list[dict[str, Any]]:
        """COCO results, for evaluation servers and other tools."""
        return self._results

    def scores(self) -> dict[str, float]:
        """``recall``: class-agnostic recall of proposals, 100 per image, over IoU 0.5 to 0.95; ``AR``: that of each class."""
        coco = self._evaluate()
        if coco is None:
            names = ("mAP", "mAP50", "mAP75", "VOC AP50", "recall", *(f"AR{count}" for count in RECALL_AT))
            return dict.fromkeys(names, 0.0)
        stats = coco.stats_as_dict
        voc = [entry["VOC AP50"] for entry in self.per_class().values() if "VOC AP50" in entry]
        proposals = self._evaluate(with_classes=False).stats_as_dict
        return {
            "mAP": max(float(stats["AP_all"]), 0.0),
            "mAP50": max(float(stats["AP_50"]), 0.0),
            "mAP75": max(float(stats["AP_75"]), 0.0),
            "VOC AP50": float(np.mean(voc)) if voc else 0.0,
            "recall": max(float(proposals["AR_third"]), 0.0),
            **self.recalls(),
        }

    def recalls(self) -> dict[str, float]:
        """COCO's AR over IoU 0.5 to 0.95 with the best 1, 10, 100, 300 and 1000 objects of each image."""
        coco = None if not self._results else self._run(with_classes=True, counts=RECALL_AT)
        stats = {} if coco is None else coco.stats_as_dict
        return {f"AR{count}": max(float(stats.get(f"AR_{count}", 0.0)), 0.0) for count in RECALL_AT}

    def per_class(self) -> dict[str, dict[str, float]]:
        """For every class that occurs: objects, mAP, mAP50, VOC AP50."""
        coco = self._evaluate()
        kept = set(self._seen)
        truths = [entry for entry in self._truth.document["annotations"] if entry["image_id"] in kept]
        voc = voc_average_precisions(truths, self._results)
        table: dict[str, dict[str, float]] = {}
        for number, (name, category) in enumerate(zip(self._truth.names, self._truth.categories, strict=True)):
            objects = sum(entry["category_id"] == category and not entry["iscrowd"] for entry in truths)
            if not objects:
                continue
            precision = (
                None if coco is None else coco.eval["precision"][:, :, self._place(coco, category, number), 0, -1]
            )
            table[name] = {
                "objects": objects,
                "mAP": 0.0 if precision is None else _mean(precision),
                "mAP50": 0.0 if precision is None else _mean(precision[0]),
                "VOC AP50": voc.get(category, 0.0),
            }
        return table

    def _place(self, coco: Any, category: int, number: int) -> int:
        ids = list(coco.params.catIds)
        return ids.index(category) if category in ids else number

    def _evaluate(self, *, with_classes: bool = True) -> Any:
        """Run faster-coco-eval over the evaluated images, once; ``None`` if nothing was detected."""
        if with_classes not in self._evaluations:
            self._evaluations[with_classes] = self._run(with_classes=with_classes)
        return self._evaluations[with_classes]

    def _run(self, *, with_classes: bool, counts: tuple[int, ...] = ()) -> Any:
        from faster_coco_eval import COCO, COCOeval_faster

        if not self._results:
            return None
        kept = set(self._seen)
        document = {
            **self._truth.document,
            "images": [image for image in self._truth.document["images"] if image["id"] in kept],
            "annotations": [entry for entry in self._truth.document["annotations"] if entry["image_id"] in kept],
        }
        truth = COCO(document, use_deepcopy=True)
        found = truth.loadRes([dict(result) for result in self._results])
        evaluation = COCOeval_faster(truth, found, self.kind, print_function=_silent, **self.settings())
        evaluation.params.useCats = int(with_classes)
        if counts:
            evaluation.params.maxDets = list(counts)
        evaluation.run()
        return evaluation

    def settings(self) -> dict[str, Any]:
        """Further arguments of the evaluation."""
        return {}

    def precisions(self) -> dict[str, float]:
        """mAP, mAP50 and mAP75 of ``kind``."""
        coco = self._evaluate()
        stats = {} if coco is None else coco.stats_as_dict
        keys = {"mAP": "AP_all", "mAP50": "AP_50", "mAP75": "AP_75"}
        return {name: max(float(stats.get(key, 0.0)), 0.0) for name, key in keys.items()}

    def class_precisions(self) -> dict[str, dict[str, float]]:
        """Of every class that occurs: objects, mAP, mAP50."""
        return {
            name: {key: value for key, value in row.items() if key != "VOC AP50"}
            for name, row in BoxScores.per_class(self).items()
        }


def _mean(precision: Any) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def _silent(*_: object, **__: object) -> None:
    pass


def _limits(spec: ModelSpec) -> list[str]:
    """A graph that ends in NMS has dropped what mAP counts, unless it was converted for that."""
    selected = getattr(decoder_of(spec).decode, "selected", False)
    conf = spec.decoder.params.get("conf", 0.0) if selected and spec.decoder else 0.0
    if conf <= LOWEST:
        return []
    return [
        f"NMS in the graph drops boxes up to score {conf:g}, which lowers mAP; for evaluation, convert with --set conf={LOWEST:g}"
    ]


class ObjectScoring(Scoring[D], Generic[D]):
    """Of every task that finds objects."""

    def answer(self, prediction: D) -> Any:
        """The confidently detected classes and their counts, ignoring boxes."""
        return tuple(sorted(prediction.labels[prediction.scores > _CONFIDENT].tolist()))

    def params(self, spec: ModelSpec) -> dict[str, Any]:
        decoder = decoder_of(spec)
        return {"conf": LOWEST} if takes_option(decoder.params, "conf") else {}


class CocoScoring(ObjectScoring[D], Generic[D]):
    """By faster-coco-eval."""

    def require(self) -> None:
        try:
            import faster_coco_eval  # noqa: F401
        except ImportError as error:
            raise DependencyError(
                "Computing mAP requires faster-coco-eval.", hint="pip install 'adaptrt[evaluate]'"
            ) from error


class BoxScoring(CocoScoring["Detections"]):
    """COCO annotations, Ultralytics' text files, or PASCAL VOC's XML files."""

    layout = "a COCO annotation file (.json) or its folder, with --images as the folder of the images; Ultralytics' data.yaml; or VOC's folder, or a list in its ImageSets/Main"

    def read_dataset(self, data: Path, spec: ModelSpec, images: Path | None) -> Dataset:
        read = read_yolo if data.suffix.lower() in SUFFIXES else read_voc if is_voc(data) else read_coco
        dataset = read(data, spec, images)
        return replace(dataset, notes=(*dataset.notes, *_limits(spec)))

    def scorer(self, spec: ModelSpec, dataset: Dataset) -> BoxScores:
        return BoxScores(dataset.context)
