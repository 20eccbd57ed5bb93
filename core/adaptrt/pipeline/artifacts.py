"""The converted forms of a model, each a file that a backend runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.backends.choice import Chosen, target_of, targets_of, wants_reduced_graph
from adaptrt.errors import DependencyError
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.request import Request
from adaptrt.specs import Precision
from adaptrt.specs.backend_calls import expression_of, open_runner
from adaptrt.specs.backends import Backend, Built, OpenOptions, build_options_of, onnx_backend

if TYPE_CHECKING:
    from adaptrt.specs.runners import FileRunner


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that holds a form of the model: ``precision`` sets the tolerances, ``name`` is used in reports.

    ``optimize=False``: its backend runs the graph node by node.
    """

    name: str
    path: Path
    precision: Precision
    backend: Backend
    optimize: bool = True


@dataclass(frozen=True, kw_only=True)
class BuiltArtifact(Artifact):
    """A file built by a backend from the ONNX file ``source``."""

    chosen: Chosen
    built: Built
    source: Path


def onnx_artifact(path: Path, precision: Precision) -> Artifact:
    """An ONNX file to run in ONNX Runtime."""
    return Artifact(name="onnx", path=path, precision=precision, backend=onnx_backend())


def open_artifact(artifact: Artifact, request: Request) -> FileRunner:
    """Open a runner with the build options that its backend reads. An engine built in this job may contain host code."""
    taken, build = build_options_of(artifact.backend), request.build
    options = OpenOptions(
        device=f"cuda:{build.device}" if build.device and "device" in taken else None,
        custom_ops=request.ort_custom_ops,
        plugin_libs=tuple(map(Path, build.plugin_libs)) if "plugin_libs" in taken else (),
        allow_host_code=True,
        optimize=artifact.optimize,
    )
    return open_runner(artifact.backend, artifact.path, options)


class Runners:
    """The artifacts of a job that are open: each file is opened once, by the first check that uses it."""

    def __init__(self) -> None:
        self._open: dict[Path, FileRunner] = {}

    def open(self, artifact: Artifact, request: Request) -> FileRunner:
        """The runner of an artifact, open until the job ends."""
        if artifact.path not in self._open:
            self._open[artifact.path] = open_artifact(artifact, request)
        return self._open[artifact.path]

    def problem(self, artifact: Artifact, request: Request) -> str:
        """The reason why the file cannot run here; empty if it can."""
        if request.build.strip_weights and "strip_weights" in build_options_of(artifact.backend):
            return "the plan contains no weights (--strip-weights)"
        try:
            self.open(artifact, request)
        except DependencyError as error:
            return f"it cannot run on this machine: {error.message}"
        return ""

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def runs_as_it_is(artifact: Artifact, request: Request) -> bool:
    """Whether the backend of a graph computes in its precision."""
    return expression_of(artifact.backend, artifact.precision, target_of(request)).runs


def emulated(artifact: Artifact, workdir: Path, files: OnnxFiles) -> Artifact:
    """A float32 graph that rounds after each node as this reduced-precision graph does.

    On a CPU, ONNX Runtime itself computes half precision in float32 between casts, and does not support bfloat16."""
    path = workdir / f"{artifact.path.stem}.rounded.onnx"
    if not path.exists():
        from adaptrt.graph.reduced_precision import write_emulated

        write_emulated(artifact.path, path, files)
    return replace(artifact, path=path, optimize=False)


def why_float32(request: Request, precision: Precision) -> str:
    """Why there is no reduced-precision graph to compare."""
    if precision.form == "cast" and not wants_reduced_graph(request):
        titles = [target.title for target in targets_of(request)]
        verb = "applies" if len(titles) == 1 else "apply"
        return f"the graph stays float32: {' and '.join(titles)} {verb} {precision.name} as a builder flag"
    if precision.form == "qdq":
        return f"the graph keeps its types: {precision.name} is defined by its Q/DQ nodes"
    if precision.form == "cast":
        return f"the graph is already in {precision.name}"
    return "the graph stays float32"
