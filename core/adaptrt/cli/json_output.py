"""What each command prints with ``--json``, as types: the schemas in ``adaptrt/schemas`` and the reference are made from them.

Within a version, keys are only added. ``version`` grows when a key is renamed or removed, or changes its meaning."""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from typing import Any

from adaptrt.cli.json_plans import (
    Adapters,
    CacheList,
    CachePruned,
    Completion,
    Failed,
    Health,
    NewPackage,
    Plan,
    Plugins,
    Serving,
    SweepPlan,
    Swept,
)
from adaptrt.cli.json_results import (
    Adopted,
    Batch,
    Description,
    Drawing,
    EngineFile,
    Evaluated,
    Linted,
    Packaged,
    Predictions,
    StreamedFrame,
    Tensors,
)
from adaptrt.cli.output import VERSION
from adaptrt.pipeline.bench.records import Benchmark
from adaptrt.pipeline.clean import Cleaned
from adaptrt.pipeline.layers.records import LayerComparison
from adaptrt.report import Report


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
