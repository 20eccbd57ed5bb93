"""The files that MMDeploy writes beside a model, as data: ``deploy.json`` and ``pipeline.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adaptrt.errors import ModelError
from adaptrt.specs import ImageTransform

DEPLOY, PIPELINE = "deploy.json", "pipeline.json"
_LARGEST_FILE = 1 << 20
_CLASSIFIER = "Classifier"
_OTHER_TASKS = {
    "Segmentor": "semantic segmentation",
    "PoseDetector": "pose estimation",
    "Restorer": "super resolution",
    "TextDetector": "text detection",
    "TextRecognizer": "text recognition",
    "VideoRecognizer": "video recognition",
}
"""The class names of MMDeploy's SDK for other tasks."""


@dataclass(frozen=True)
class Deployed:
    """What the files say of a model. ``size``: height and width that images are resized or cropped to, if the pipeline does.

    ``decoder``: that of the task, for models whose outputs do not show it; ``params``: of its parameters.
    """

    image: ImageTransform
    size: tuple[int, int] | None
    mask_threshold: float | None
    decoder: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)


def is_named(model: Path) -> bool:
    """Whether the ``deploy.json`` beside a model is about it."""
    return model.name in _nets(_read(model.with_name(DEPLOY)) or {})


def _nets(described: Mapping[str, Any]) -> list[Any]:
    models = described.get("models")
    return [one.get("net") for one in models if isinstance(one, dict)] if isinstance(models, list) else []


def read_deployed(model: Path) -> Deployed | None:
    """Of the ``pipeline.json`` beside a model; ``None`` without one, or if ``deploy.json`` is about another file."""
    document = _read(model.with_name(PIPELINE))
    if document is None:
        return None
    described = _read(model.with_name(DEPLOY)) or {}
    nets = _nets(described)
    if nets and model.name not in nets:
        return None
    task = described.get("task")
    _require_known(model.name, task)
    pipeline = document.get("pipeline")
    tasks = pipeline.get("tasks") if isinstance(pipeline, dict) else None
    tasks = [one for one in tasks if isinstance(one, dict)] if isinstance(tasks, list) else []
    steps = next((one.get("transforms") for one in tasks if one.get("module") == "Transform"), None)
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise _wrong("it has no transforms")
    last: dict[str, Any] = next((one for one in tasks if one.get("name") == "postprocess"), {})
    params = last.get("params")
    params = params if isinstance(params, dict) else {}
    image, size = _transform(steps)
    if task == _CLASSIFIER:
        return Deployed(image, size, None, "classify", _classes(model.name, last.get("component"), params))
    threshold = params.get("mask_thr_binary")
    return Deployed(image, size, float(threshold) if isinstance(threshold, float) and 0 <= threshold <= 1 else None)


def _classes(file: str, head: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of ``classify``: MMDeploy's graphs of classifiers end in softmax, those of several labels in sigmoid."""
    if isinstance(head, str) and "MultiLabel" in head:
        raise ModelError(
            f"{file} is a multi-label classifier ({head}), which is not supported.",
            hint="Supported: classifiers with one label per image.",
        )
    count = params.get("topk")
    return {"probabilities": True, **({"top_k": count} if type(count) is int and count > 0 else {})}


def _require_known(file: str, task: Any) -> None:
    """``task``: MMDeploy's class for the model, in ``deploy.json``; other tasks have other outputs and postprocessing."""
    if task in _OTHER_TASKS:
        raise ModelError(
            f"{file} is {_OTHER_TASKS[task]} of MMDeploy ({task}), which is not supported.",
            hint="Supported MMDeploy files: detectors, instance segmentation, rotated boxes and classifiers. Alternatively, convert the network "
            "itself: adaptrt convert",
        )


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    if file.stat().st_size > _LARGEST_FILE:
        raise ModelError(f"{file.name} is too large to be a file of MMDeploy.")
    try:
        document = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file.name} is not valid JSON: {error}.", hint="Run MMDeploy again.") from error
    return document if isinstance(document, dict) else {}


_SKIPPED = ("LoadImageFromFile", "DefaultFormatBundle", "Collect", "ImageToTensor")


def _transform(steps: list[Mapping[str, Any]]) -> tuple[ImageTransform, tuple[int, int] | None]:
    """Resize, crop, pad and normalize, in MMDeploy's words; any other step is an error, since it would be left out."""
    size: tuple[int, int] | None = None
    short = crop = None
    keep = normalized = False
    values: dict[str, Any] = {"scale": 1.0, "pad": None, "center": False}
    for step in steps:
        kind = step.get("type")
        if kind in _SKIPPED:
            continue
        if kind == "Resize":
            short, keep = _short_side(step.get("size")), bool(step.get("keep_ratio", False))
            size = None if short else _size(step.get("size"))
            if step.get("interpolation", "bilinear") != "bilinear":
                raise _wrong(f"its Resize interpolates with {step['interpolation']!r}")
        elif kind == "CenterCrop":
            crop = _crop_side(step.get("crop_size"))
        elif kind == "Normalize":
            normalized = True
            values |= {
                "mean": _channels(step, "mean"),
                "std": _channels(step, "std"),
                "colors": "rgb" if step.get("to_rgb", True) else "bgr",
            }
        elif kind == "Pad":
            value = step.get("pad_val", 0)
            value = value.get("img", 0) if isinstance(value, dict) else value
            levels = value if isinstance(value, list) else [value]
            if not levels or any(
                level != levels[0] or not _is_number(level) or not 0 <= level <= 255 for level in levels
            ):
                raise _wrong(f"its Pad has the value {value!r}")
            if normalized and levels[0]:
                raise _wrong("its Pad follows Normalize, and is not zero")
            values["pad"] = None if normalized else int(levels[0])
        else:
            raise _wrong(f"its step {kind!r} is not known here")
    if short or crop:
        if not short or not crop or crop > short:
            raise _wrong("only a resize of the shorter side, and a CenterCrop that is not larger, can be combined")
        return ImageTransform(resize="crop", crop_fraction=_fraction(crop, short), **values), (crop, crop)
    return ImageTransform(resize="letterbox" if keep else "stretch", **values), size


def _short_side(found: Any) -> int | None:
    """MMDeploy writes ``[256, -1]`` for a shorter side of 256 pixels."""
    if not isinstance(found, list) or len(found) != 2 or found[1] != -1:
        return None
    return _size(found[0])[0]


def _crop_side(found: Any) -> int:
    side = found[0] if isinstance(found, list) and len(found) == 2 and found[0] == found[1] else found
    if type(side) is not int or not 0 < side < 1 << 16:
        raise _wrong(f"its CenterCrop has the size {found!r}")
    return side


def _fraction(crop: int, short: int) -> float:
    """The ``crop_fraction`` of which the shorter side follows exactly."""
    fraction = crop / short
    return fraction if math.floor(crop / fraction) == short else math.nextafter(fraction, 0)


def _size(found: Any) -> tuple[int, int]:
    """Height and width; MMDeploy writes the width first."""
    sides = [found, found] if type(found) is int else found
    if (
        not isinstance(sides, list)
        or len(sides) != 2
        or not all(type(side) is int and 0 < side < 1 << 16 for side in sides)
    ):
        raise _wrong(f"its Resize has the size {found!r}")
    return sides[1], sides[0]


def _channels(step: Mapping[str, Any], name: str) -> tuple[float, ...]:
    found = step.get(name)
    if not isinstance(found, list) or len(found) not in (1, 3) or not all(map(_is_number, found)):
        raise _wrong(f"its Normalize has the {name} {found!r}")
    return tuple(map(float, found if len(found) == 3 else found * 3))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e6


def _wrong(what: str) -> ModelError:
    return ModelError(
        f"{PIPELINE} next to the model cannot be interpreted: {what}.",
        hint="Describe the file instead, with --decoder (mmdeploy, classify), in a folder without pipeline.json.",
    )
