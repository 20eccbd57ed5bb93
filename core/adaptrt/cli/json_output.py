"""What each command prints with ``--json``, as types: the schemas in ``adaptrt/schemas`` and the reference are made from them.

Within a version, keys are only added. ``version`` grows when a key is renamed or removed, or changes its meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from adaptrt.cli.output import VERSION
from adaptrt.evaluation.records import BackendResult
from adaptrt.pipeline.bench.records import Benchmark
from adaptrt.pipeline.layers.records import LayerComparison
from adaptrt.report import Check, Finding, PassRecord, Report
from adaptrt.specs import ModelSpec
from adaptrt.specs.descriptions import Node, Tensor


class _Versioned(Struct, kw_only=True):
    version: int


class Requirement(Struct, kw_only=True):
    """What a distribution requires besides adaptrt. ``installed``: ``null`` if it is not."""

    requires: str
    installed: str | None


class InstalledAdapter(Struct, kw_only=True):
    """``problems`` prevent it from running; ``install`` is the command that solves them, if there is one."""

    name: str
    distribution: str
    version: str
    module: str
    summary: str
    license: str | None
    frameworks: list[Requirement]
    problems: list[str]
    install: str | None


class AvailableAdapter(Struct, kw_only=True):
    """An adapter that can be installed."""

    name: str
    distribution: str
    framework: str
    summary: str
    license: str
    examples: list[str]
    install: str


class Adapters(_Versioned, kw_only=True):
    """``available``: with ``--all``."""

    installed: list[InstalledAdapter]
    available: list[AvailableAdapter] | UnsetType = UNSET


class Adopted(_Versioned, kw_only=True):
    """``from``: where the decoder was found. ``labels``: the number of class names."""

    file: str
    decoder: str
    from_: str = field(name="from")
    task: str
    labels: int


class Batch(_Versioned, kw_only=True):
    """``processed`` and ``seconds``: of this run; ``rows`` and ``failed``: of the whole job."""

    model: str
    folder: str
    rows: int
    failed: int
    processed: int
    parts: int
    seconds: float


class CacheEntry(Struct, kw_only=True):
    """``created`` and ``used``: local time. ``bytes``: of all files."""

    key: str
    kind: str
    title: str
    files: list[str]
    bytes: int
    created: str
    used: str


class TimingCache(Struct, kw_only=True):
    """Kernel timings of a TensorRT builder."""

    title: str
    bytes: int
    used: str


class CacheList(_Versioned, kw_only=True):
    """``bytes``: of all entries and timing caches."""

    folder: str
    bytes: int
    entries: list[CacheEntry]
    timing: list[TimingCache]


class CachePruned(_Versioned, kw_only=True):
    """The number of results and timing caches that were removed, and their size."""

    folder: str
    entries: int
    timing: int
    bytes: int


class Cleaned(_Versioned, kw_only=True):
    """``operators`` maps ``before`` and ``after`` to the count of each operator; ``checks``: the largest differences of the outputs
    from those of the source, on ``samples``."""

    output: str
    passes: list[PassRecord]
    operators: dict[str, dict[str, int]]
    checks: list[Check]
    samples: str


class Completion(_Versioned, kw_only=True):
    """``script``: to be evaluated by the shell."""

    shell: str
    script: str


class PlannedOption(Struct, kw_only=True):
    """``of``: what reads it."""

    value: Any
    of: Literal["adapter", "decoder"]


class PlannedExport(Struct, kw_only=True):
    """``null``, ``auto`` or 0: chosen during the conversion."""

    exporter: str
    opset: int | None
    target: str | None
    precision: str
    simplify: bool
    embed_preprocess: bool
    nms: str | None


class PlannedFile(Struct, kw_only=True):
    """``condition``: empty if the file is always written."""

    path: str
    exists: bool
    condition: str


class PlannedPatch(Struct, kw_only=True):
    target: str
    kind: str
    reason: str
    plugin: str


class PlannedPass(Struct, kw_only=True):
    order: int
    name: str
    reason: str
    plugin: str


class PlannedModel(Struct, kw_only=True):
    """``inputs``: shape and type by name; ``outputs``: the groups of each."""

    name: str
    task: str
    inputs: dict[str, str]
    outputs: dict[str, list[str]]
    decoder: str | None
    patches: list[PlannedPatch]
    passes: list[PlannedPass]


class Plan(_Versioned, kw_only=True):
    """``links``: ``runs``, or why not, by number. ``hooks``: the plugins in the order they are called. ``unchecked``: what only the
    loaded model can tell. ``model``: with ``-v``, which loads it."""

    source: str
    source_bytes: int | None
    weights: str | None
    adapter: str
    plugins: dict[str, str]
    warnings: list[str]
    options: dict[str, PlannedOption]
    adapter_options: dict[str, str]
    shapes: dict[str, str]
    unchecked: list[str]
    export: PlannedExport
    links: dict[str, str]
    hooks: dict[str, list[str]]
    wrappers: dict[str, list[str]]
    files: list[PlannedFile]
    model: PlannedModel | UnsetType = UNSET


class Gpu(Struct, kw_only=True):
    """As ``nvidia-smi`` lists it; ``compute``: its compute capability."""

    name: str
    driver: str
    memory: str
    compute: str


class Purpose(Struct, kw_only=True):
    """``missing`` is empty if everything is installed; ``install`` is the command that installs the rest."""

    name: str
    missing: list[str]
    install: str | None


class MatchedIssue(Struct, kw_only=True):
    """A known issue of TensorRT. ``nodes``: the nodes of the file that it concerns. ``precision`` and ``capability``: only in these
    precisions and on these GPUs; empty: all."""

    name: str
    nodes: list[str]
    symptom: str
    product: str
    versions: str
    fixed: str
    precision: list[str]
    capability: list[str]
    advice: str
    source: str
    text: str


class Health(_Versioned, kw_only=True):
    """``versions``: ``null`` for a package that is not installed. ``no_gpu``: why ``gpus`` is empty. ``broken``: installed components
    that do not work; the exit code is then 3. ``known_issues``: with a file."""

    versions: dict[str, str | None]
    gpus: list[Gpu]
    no_gpu: str
    purposes: list[Purpose]
    adapters: list[InstalledAdapter]
    broken: list[str]
    notes: list[str]
    known_issues: list[MatchedIssue] | UnsetType = UNSET


class EngineFile(_Versioned, kw_only=True):
    """``header``: the metadata of Ultralytics that was removed or added."""

    path: str
    header: dict[str, Any]


class Evaluated(_Versioned, kw_only=True):
    """The first of ``results`` is the baseline. ``written``: files with predictions, and images."""

    data: str
    task: str
    images: int
    batch: int
    results: list[BackendResult]
    notes: list[str]
    written: list[str]


class Description(_Versioned, kw_only=True):
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


class Drawing(_Versioned, kw_only=True):
    """``written``: the drawing."""

    written: str
    blocks: list[DrawnBlock]
    notes: list[str]


class Linted(_Versioned, kw_only=True):
    """``target``: the generation of TensorRT, or another backend's target."""

    file: str
    target: str
    findings: list[Finding]


class NewPackage(_Versioned, kw_only=True):
    """``next``: commands to go on with."""

    files: list[str]
    next: list[str]


class Packaged(_Versioned, kw_only=True):
    """``files``: relative to ``folder``."""

    folder: str
    files: list[str]
    notes: list[str]


class ListedPlugin(Struct, kw_only=True):
    """``status``: ``active``, or why it was skipped."""

    name: str
    source: str
    hooks: list[str]
    status: str


class Plugins(_Versioned, kw_only=True):
    """In registration order; the last one is called first."""

    plugins: list[ListedPlugin]
    warnings: list[str]


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


class Predictions(_Versioned, kw_only=True):
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


class Tensors(_Versioned, kw_only=True):
    """``inputs``: what the file was run on."""

    file: str
    inputs: str
    tensors: list[TensorFacts]
    notes: list[str]
    written: list[str]


class Serving(_Versioned, kw_only=True):
    """Printed when the server is ready."""

    model: str
    url: str


class SweptConversion(Struct, kw_only=True):
    """``difference``: the largest of links 2 and 3, as a share of its limit; ``metric``: the lowest of links 3 and 5. ``latency`` and ``call_latency``: milliseconds,
    of the file alone and of a call on decoded images, with [bench]. ``null``: not
    measured. ``text``: the error of a failed conversion."""

    name: str
    model: str
    values: dict[str, str]
    status: Literal["verified", "partly verified", "not verified", "failed"]
    nodes: int | None
    seconds: float
    difference: float | None
    metric: float | None
    bytes: int | None
    latency: float | None
    call_latency: float | None
    text: str


class Swept(_Versioned, kw_only=True):
    conversions: list[SweptConversion]


class PlannedConversion(Struct, kw_only=True):
    """``options``: those of ``adaptrt convert``, by name."""

    name: str
    options: dict[str, Any]


class SweepPlan(_Versioned, kw_only=True):
    conversions: list[PlannedConversion]


class Error(Struct, kw_only=True):
    """``kind``: the class of the error; ``hint``: what to do."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


class Failed(_Versioned, kw_only=True):
    """Printed in place of the result if a command fails; if a conversion or a build fails, together with its report."""

    status: Literal["failed"]
    error: Error


@dataclass(frozen=True)
class JsonOutput:
    """``when``: the options with which a command prints this; empty: by default. ``schema``: the name of its file, if several commands
    share it; ``lines``: one such object on each line."""

    command: str
    kind: Any
    when: str = ""
    schema: str = ""
    lines: bool = False

    @property
    def version(self) -> int:
        return int(getattr(self.kind, "version", VERSION)) if is_dataclass(self.kind) else VERSION

    @property
    def name(self) -> str:
        """Of the schema's file."""
        return self.schema or "-".join([*self.command.split(), *self.when.removeprefix("--").split()])


OUTPUTS = (
    JsonOutput("adapters", Adapters),
    JsonOutput("adopt", Adopted),
    JsonOutput("batch", Batch),
    JsonOutput("bench", Benchmark),
    JsonOutput("build", Report, schema="report"),
    JsonOutput("cache ls", CacheList),
    JsonOutput("cache prune", CachePruned),
    JsonOutput("clean", Cleaned),
    JsonOutput("compare", LayerComparison),
    JsonOutput("completion", Completion),
    JsonOutput("convert", Report, schema="report"),
    JsonOutput("convert", Plan, "--dry-run"),
    JsonOutput("doctor", Health),
    JsonOutput("engine unwrap", EngineFile, schema="engine"),
    JsonOutput("engine wrap", EngineFile, schema="engine"),
    JsonOutput("evaluate", Evaluated),
    JsonOutput("inspect", Description),
    JsonOutput("inspect", Drawing, "--graph html", schema="inspect-drawing"),
    JsonOutput("lint", Linted),
    JsonOutput("new-adapter", NewPackage, schema="new-package"),
    JsonOutput("new-backend", NewPackage, schema="new-package"),
    JsonOutput("new-extension", NewPackage, schema="new-package"),
    JsonOutput("package", Packaged),
    JsonOutput("plugins", Plugins),
    JsonOutput("predict", Predictions),
    JsonOutput("predict", StreamedFrame, "--stream", lines=True),
    JsonOutput("quantize", Report, schema="report"),
    JsonOutput("run", Tensors),
    JsonOutput("serve", Serving),
    JsonOutput("sweep", Swept),
    JsonOutput("sweep", SweepPlan, "--dry-run"),
    JsonOutput("tune", Report, schema="report"),
    JsonOutput("", Failed, schema="error"),
)
