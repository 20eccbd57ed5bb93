"""What commands on models print with ``--json``; see ``json_output``."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from adaptrt.cli.json_plans import Versioned
from adaptrt.evaluation.records import BackendResult
from adaptrt.report import Finding
from adaptrt.specs import ModelSpec
from adaptrt.specs.descriptions import Node, Tensor


class Adopted(Versioned, kw_only=True):
    """``from``: where the decoder was found. ``labels``: the number of class names."""

    file: str
    decoder: str
    from_: str = field(name="from")
    task: str
    labels: int


class Batch(Versioned, kw_only=True):
    """``processed`` and ``seconds``: of this run; ``rows`` and ``failed``: of the whole job."""

    model: str
    folder: str
    rows: int
    failed: int
    processed: int
    parts: int
    seconds: float


class EngineFile(Versioned, kw_only=True):
    """``header``: the metadata of Ultralytics that was removed or added."""

    path: str
    header: dict[str, Any]


class Evaluated(Versioned, kw_only=True):
    """The first of ``results`` is the baseline. ``written``: files with predictions, and images."""

    data: str
    task: str
    images: int
    batch: int
    results: list[BackendResult]
    notes: list[str]
    written: list[str]


class Description(Versioned, kw_only=True):
    """``facts``: single lines by title; ``tables``: further ones by title, header first. ``nodes``: with ``--graph``."""

    path: str
    kind: str
    bytes: int
    facts: dict[str, str]
    inputs: list[Tensor]
    outputs: list[Tensor]
    operators: dict[str, int]
    metadata: dict[str, str]
    spec: ModelSpec | None
    nodes: list[Node] | UnsetType = UNSET
    tables: dict[str, list[list[str]]] | UnsetType = UNSET
    warnings: list[str]


class DrawnBlock(Struct, kw_only=True):
    """``seconds``: with ``--color time``. ``used``: the share of its limit that ``worst``, the tensor that differs most, uses.
    ``reads``: the blocks whose results it takes."""

    title: str
    kind: str
    nodes: list[str]
    precisions: dict[str, int]
    seconds: float | UnsetType | None = UNSET
    used: float | UnsetType | None = UNSET
    worst: str | UnsetType = UNSET
    reads: list[str]


class Drawing(Versioned, kw_only=True):
    """``written``: the drawing."""

    written: str
    blocks: list[DrawnBlock]
    notes: list[str]


class Linted(Versioned, kw_only=True):
    """``target``: the generation of TensorRT, or another backend's target."""

    file: str
    target: str
    findings: list[Finding]


class Packaged(Versioned, kw_only=True):
    """``files``: relative to ``folder``."""

    folder: str
    files: list[str]
    notes: list[str]


class Milliseconds(Struct, kw_only=True):
    preprocess: float
    run: float
    postprocess: float


class FoundObject(Struct, kw_only=True):
    """An object of detect, segment, pose or obb."""

    label: str
    class_: int = field(name="class")
    score: float
    box: Annotated[list[float], Meta(description="x1, y1, x2, y2, in pixels of the image")]
    rotated: Annotated[
        list[float] | UnsetType, Meta(description="obb: center x and y, width, height, angle in radians")
    ] = UNSET
    corners: Annotated[list[list[float]] | UnsetType, Meta(description="obb: x and y of each corner")] = UNSET
    keypoints: Annotated[list[list[float]] | UnsetType, Meta(description="pose: x, y and visibility of each")] = UNSET
    pixels: Annotated[int | UnsetType, Meta(description="segment: the area of the mask")] = UNSET
    mask: Annotated[dict[str, Any] | UnsetType, Meta(description="segment: run lengths as in COCO")] = UNSET


class FoundClass(Struct, kw_only=True):
    """A class of an image."""

    label: str
    class_: int = field(name="class")
    score: float


class FoundArea(Struct, kw_only=True):
    """A class that occurs in a semantic map. ``share``: of the image."""

    label: str
    class_: int = field(name="class")
    pixels: int
    share: float
    score: float | UnsetType = UNSET


class DescribedArray(Struct, kw_only=True):
    shape: list[int]
    dtype: str
    data: Annotated[Any, Meta(description="a number or nested lists; omitted for arrays of more than 1000 values")] = (
        UNSET
    )


class _Found(Struct, kw_only=True):
    """What was found: the key depends on the task; tasks of other packages add others."""

    detections: Annotated[list[FoundObject] | UnsetType, Meta(description="detect, segment, pose, obb")] = UNSET
    classes: Annotated[list[FoundClass] | UnsetType, Meta(description="classify: best first")] = UNSET
    areas: Annotated[list[FoundArea] | UnsetType, Meta(description="semantic: classes that occur")] = UNSET
    values: Annotated[dict[str, DescribedArray] | UnsetType, Meta(description="values: the outputs of the model")] = (
        UNSET
    )
    found: Annotated[str | UnsetType, Meta(description="tasks of other packages: a description")] = UNSET


class _Image(_Found, kw_only=True):
    """With ``error`` if it could not be read, else with what was found in it."""

    error: str | UnsetType = UNSET
    height: int | UnsetType = UNSET
    width: int | UnsetType = UNSET
    milliseconds: Milliseconds | UnsetType = UNSET


class PredictedImage(_Image, kw_only=True):
    """An image has a ``path`` and ``output``, the image that was written; the frame of a video or stream has the other keys.

    With ``error`` if it could not be read, else with what was found in it."""

    path: str | UnsetType = UNSET
    output: str | UnsetType | None = UNSET
    source: str | UnsetType = UNSET
    frame: int | UnsetType = UNSET
    timestamp: Annotated[float | UnsetType | None, Meta(description="seconds; null for a still image")] = UNSET
    dropped: Annotated[int | UnsetType, Meta(description="frames of a live source that were skipped so far")] = UNSET


class StreamedFrame(_Image, kw_only=True):
    """A line of ``--stream``: a frame of a video or stream, or a still image among them.

    With ``error`` if it could not be read, else with what was found in it."""

    version: int
    source: str
    frame: int
    timestamp: Annotated[float | None, Meta(description="seconds; null for a still image")]
    dropped: Annotated[int, Meta(description="frames of a live source that were skipped so far")]


class Predictions(Versioned, kw_only=True):
    """``images``: images, or the frames of videos and streams. ``written``: exports and videos."""

    model: str
    images: list[PredictedImage]
    written: list[str] | UnsetType = UNSET


class TensorFacts(Struct, kw_only=True):
    """``min``, ``max`` and ``mean``: of its finite numbers. ``not_finite`` counts NaN and infinity."""

    name: str
    shape: list[int]
    dtype: str
    min: float | None
    max: float | None
    mean: float | None
    not_finite: int


class Tensors(Versioned, kw_only=True):
    """``inputs``: what the file was run on."""

    file: str
    inputs: str
    tensors: list[TensorFacts]
    notes: list[str]
    written: list[str]
