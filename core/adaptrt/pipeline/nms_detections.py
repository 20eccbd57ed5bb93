"""Detections of NMS in the graph and of NMS in numpy, in one form, so that they can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from adaptrt.specs import ModelSpec
from adaptrt.vision.decoders.candidates import Candidates

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adaptrt.graph.nms_plan import ImageAxes
    from adaptrt.specs.layouts import BoxLayout, Part
    from adaptrt.specs.tensors import Arrays


def every_class(sample: Arrays, layout: BoxLayout) -> Candidates:
    """A candidate for each box and class, in the order box, class."""
    boxes, scores = part_of(sample, layout.boxes), part_of(sample, layout.scores)
    if layout.objectness is not None:
        scores = scores * part_of(sample, layout.objectness)
    if layout.centers and layout.angle is None:
        half = boxes[:, 2:] / np.float32(2)
        boxes = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], 1)
    classes = scores.shape[1]
    labels = np.tile(np.arange(classes, dtype=np.int64), len(boxes))
    extras = {extra.name: np.repeat(part_of(sample, extra.part), classes, axis=0) for extra in layout.extras}
    if layout.angle is not None:
        rotated = np.concatenate([part_of(sample, layout.boxes), part_of(sample, layout.angle)], 1)
        extras["rotated"] = np.repeat(rotated, classes, axis=0)
    return Candidates(np.repeat(boxes, classes, axis=0), scores.reshape(-1), labels, extras)


def image_size(spec: ModelSpec, inputs: Arrays) -> tuple[int, int]:
    """Height and width of the image input; 1, 1 if there is none."""
    if spec.image is None:
        return 1, 1
    shape = inputs[spec.image.input].shape
    return int(shape[spec.image.axes[0]]), int(shape[spec.image.axes[1]])


def image_of_size(axes: ImageAxes, size: tuple[int, int]) -> NDArray[np.float32]:
    """An image of height and width ``size``, in a tensor of 4 axes."""
    shape = [1] * 4
    shape[axes.height], shape[axes.width] = size
    return np.zeros(shape, np.float32)


def crowded(
    like: Arrays, layout: BoxLayout, seed: int, size: tuple[int, int] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Outputs of this shape with overlapping boxes around random centers, scores of which many are equal, and random numbers
    elsewhere, such as angles. ``size``: of the image, height and width, beyond whose rim some boxes are."""
    rng = np.random.default_rng(seed)
    outputs = {name: rng.standard_normal(array.shape, np.float32) for name, array in like.items()}
    boxes = part_of(outputs, layout.boxes, batched=True)  # views: written in place
    batch, count, _ = boxes.shape
    low, high = (40, 600) if size is None else (-0.1 * np.array(size[::-1]), 1.1 * np.array(size[::-1]))
    centers = rng.uniform(low, high, (max(count // 16, 1), 2))[rng.integers(0, max(count // 16, 1), (batch, count))]
    centers += rng.normal(0, 10, centers.shape)
    sizes = rng.uniform(20, 90, (batch, count, 2))
    if layout.centers:
        boxes[..., :2], boxes[..., 2:] = centers, sizes
    else:
        boxes[..., :2], boxes[..., 2:] = centers - sizes / 2, centers + sizes / 2
    scores = part_of(outputs, layout.scores, batched=True)
    scores[...] = np.round(rng.random(scores.shape) ** 2 * 64) / 64
    if layout.objectness is not None:
        factor = part_of(outputs, layout.objectness, batched=True)
        factor[...] = np.round(rng.uniform(0.5, 1, factor.shape) * 16) / 16
    return outputs


def part_of(outputs: Arrays, part: Part, *, batched: bool = False) -> NDArray[np.float32]:
    array = outputs[part.output]
    if part.channels_first:
        array = array.transpose(0, 2, 1) if batched else array.T
    return array[..., part.start : part.stop]


def columns_of(found: Candidates, layout: BoxLayout) -> dict[str, NDArray[Any]]:
    """Candidates under the names of the graph's outputs; extras as rows of numbers."""
    boxes = found.boxes if layout.angle is None else found.extras["rotated"]
    columns = {"det_boxes": boxes, "det_scores": found.scores, "det_classes": found.labels}
    for extra in layout.extras:
        columns[extra.output] = found.extras[extra.name].reshape(len(found), -1)
    return columns


def is_same(outputs: Arrays, row: int, found: Candidates, layout: BoxLayout) -> bool:
    count = int(outputs["num_dets"][row, 0])
    if count != len(found):
        return False
    columns = columns_of(found, layout).items()
    return all(np.array_equal(outputs[name][row, :count], column) for name, column in columns)


def is_between(outputs: Arrays, row: int, sure: Candidates, possible: Candidates, max_det: int) -> bool:
    """Whether the detections of an image, best first, are among the possible ones, and no better sure one is missing."""
    count = int(outputs["num_dets"][row, 0])
    found = [outputs[name][row, :count] for name in ("det_boxes", "det_scores", "det_classes")]
    rows = _numbers(*found)
    wanted, allowed = (_numbers(one.extras["rotated"], one.scores, one.labels) for one in (sure, possible))
    scores = found[1]
    if set(rows) - set(allowed) or count > max_det or (np.diff(scores) > 0).any():
        return False
    lowest = scores[-1] if count == max_det else -np.inf
    missing = set(wanted) - set(rows)
    return not any(one in missing and score > lowest for one, score in zip(wanted, sure.scores, strict=True))


def _numbers(boxes: NDArray[Any], scores: NDArray[Any], labels: NDArray[Any]) -> list[tuple[float, ...]]:
    """The numbers of each detection, to be found again."""
    rows = np.concatenate([boxes, scores[:, None], labels[:, None]], 1).astype(np.float64)
    return [tuple(row) for row in rows.tolist()]


def as_outputs(
    found: Sequence[Candidates], spec: ModelSpec, layout: BoxLayout, *, converged: bool
) -> dict[str, NDArray[Any]]:
    """Detections in the schema of the graph's outputs."""
    rows = int(spec.output("det_scores").dims[1])
    outputs: dict[str, NDArray[Any]] = {"num_dets": np.array([[min(len(one), rows)] for one in found], np.int32)}
    names = ["det_boxes", "det_scores", "det_classes", *(extra.output for extra in layout.extras)]
    for name in names:
        output = spec.output(name)
        outputs[name] = np.zeros((len(found), *map(int, output.dims[1:])), output.dtype or np.float32)
    for row, one in enumerate(found):
        for name, column in columns_of(one, layout).items():
            count = min(len(one), rows)
            outputs[name][row, :count] = column[:count]
    if converged:
        outputs["nms_converged"] = np.ones((len(found), 1), np.int32)
    return outputs
