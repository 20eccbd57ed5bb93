"""What commands about this installation, plans and errors print with ``--json``; see ``json_output``."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from adaptrt.sweep.table import SweptConversion


class Versioned(Struct, kw_only=True):
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


class Adapters(Versioned, kw_only=True):
    """``available``: with ``--all``."""

    installed: list[InstalledAdapter]
    available: list[AvailableAdapter] | UnsetType = UNSET


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


class CacheList(Versioned, kw_only=True):
    """``bytes``: of all entries and timing caches."""

    folder: str
    bytes: int
    entries: list[CacheEntry]
    timing: list[TimingCache]


class CachePruned(Versioned, kw_only=True):
    """The number of results and timing caches that were removed, and their size."""

    folder: str
    entries: int
    timing: int
    bytes: int


class Completion(Versioned, kw_only=True):
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


class Plan(Versioned, kw_only=True):
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


class Health(Versioned, kw_only=True):
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


class NewPackage(Versioned, kw_only=True):
    """``next``: commands to go on with."""

    files: list[str]
    next: list[str]


class ListedPlugin(Struct, kw_only=True):
    """``status``: ``active``, or why it was skipped."""

    name: str
    source: str
    hooks: list[str]
    status: str


class Plugins(Versioned, kw_only=True):
    """In registration order; the last one is called first."""

    plugins: list[ListedPlugin]
    warnings: list[str]


class Serving(Versioned, kw_only=True):
    """Printed when the server is ready."""

    model: str
    url: str


class Swept(Versioned, kw_only=True):
    conversions: list[SweptConversion]


class PlannedConversion(Struct, kw_only=True):
    """``options``: those of ``adaptrt convert``, by name."""

    name: str
    options: dict[str, Any]


class SweepPlan(Versioned, kw_only=True):
    conversions: list[PlannedConversion]


class Error(Struct, kw_only=True):
    """``kind``: the class of the error; ``hint``: what to do."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


class Failed(Versioned, kw_only=True):
    """Printed in place of the result if a command fails; if a conversion or a build fails, together with its report."""

    status: Literal["failed"]
    error: Error
