"""Determines the family of a checkpoint without executing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adaptrt import CheckpointError
from adaptrt.checkpoint import InertObject, read_checkpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

Family = Literal["new", "classic"]

# Everything these checkpoints pickle besides tensors: replaced by stand-ins, never executed.
INERT = (
    "ultralytics",
    "models",
    "utils",
    "yolov5",
    "torch.nn",
    "torchvision.transforms",
    "builtins.getattr",
    "argparse.Namespace",
)

CLASSIC_MODULES = ("models.yolo", "yolov5.models.yolo")
CLASSIC_MODELS = ("Model", "DetectionModel", "SegmentationModel", "ClassificationModel")
MODELS = (
    "DetectionModel",
    "SegmentationModel",
    "PoseModel",
    "OBBModel",
    "ClassificationModel",
    "RTDETRDetectionModel",
)
OTHER_TASKS = {
    "SemanticSegmentationModel": "semantic segmentation",
    "DepthModel": "depth",
    "WorldModel": "YOLO-World",
    "YOLOEModel": "YOLOE",
    "YOLOESegModel": "YOLOE segmentation",
}
WRAPPERS = frozenset({"AutoShape", "autoShape", "DetectMultiBackend"})  # around the model, by torch.hub
SUPPORTED = (
    "Supported: detection, segmentation, pose, oriented boxes and classification of YOLOv5 (new), v3, v8 to v12 and 26, "
    "RT-DETR, and detection, segmentation and classification of classic YOLOv5."
)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A pickled network and the other entries of the file (``train_args``, ``date``, ``epoch`` ...)."""

    path: Path
    family: Family
    model: InertObject
    contents: Mapping[str, Any] = field(default_factory=dict)

    def error(self, message: str, hint: str | None = None) -> CheckpointError:
        return CheckpointError(f"{self.path}: {message}", hint=hint)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a ``.pt`` of either family; any other file is a ``CheckpointError`` that says what it is."""
    path = Path(path)
    contents = read_checkpoint(path, inert=INERT)
    model = _network_in(contents)
    if model is None:
        raise CheckpointError(f"{path} does not contain a YOLO network{_what_instead(contents)}.", hint=SUPPORTED)
    return Checkpoint(path, _family(path, model), model, contents if isinstance(contents, dict) else {})


def _network_in(contents: Any) -> InertObject | None:
    """The averaged weights if present, which Ultralytics prefers too; else the model."""
    candidates = [contents.get("ema"), contents.get("model")] if isinstance(contents, dict) else [contents]
    for candidate in candidates:
        while isinstance(candidate, InertObject) and candidate.name in WRAPPERS:
            candidate = candidate.mapping("_modules").get("model")
        if isinstance(candidate, InertObject) and candidate.mapping("_modules"):
            return candidate
    return None


def _what_instead(contents: Any) -> str:
    if not isinstance(contents, dict):
        return f", but {type(contents).__name__}"
    nested = [value for value in (contents.get("ema"), contents.get("model"), contents) if isinstance(value, dict)]
    if any(hasattr(value, "shape") for values in nested for value in values.values()):
        return ", only a state dict without the network that it belongs to"
    return f", but {', '.join(map(str, list(contents)[:5]))}" if contents else ": it is empty"


def _family(path: Path, model: InertObject) -> Family:
    module, _, name = model.path.rpartition(".")
    if name in OTHER_TASKS:
        raise CheckpointError(f"{path} is a model for {OTHER_TASKS[name]}, which is not supported.", hint=SUPPORTED)
    if module == "ultralytics.nn.tasks" and name in MODELS:
        return "new"
    if module in CLASSIC_MODULES and name in CLASSIC_MODELS:
        return "classic"
    raise CheckpointError(f"{path} contains a network of an unknown class: {model.path}.", hint=SUPPORTED)
