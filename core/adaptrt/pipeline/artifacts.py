"""The converted forms of a model, each a file that a backend runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.backends.choice import Chosen, target_of, targets_of, wants_reduced_graph
from adaptrt.errors import DependencyError
from adaptrt.request import Request
from adaptrt.specs import Precision
from adaptrt.specs.backends import BACKENDS, Backend, Built, OpenOptions, build_options_of

if TYPE_CHECKING:
    from adaptrt.specs.runners import FileRunner


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that is the model in some form: ``precision`` sets the tolerances, ``name`` is used in reports."""

    name: str
    path: Path
    precision: Precision
    backend: Backend


@dataclass(frozen=True, kw_only=True)
class BuiltArtifact(Artifact):
    """A file built by a backend from the ONNX file ``source``."""

    chosen: Chosen
    built: Built
    source: Path


def onnx_artifact(path: Path, precision: Precision) -> Artifact:
    """An ONNX file to run in ONNX Runtime."""
    return Artifact(name="onnx", path=path, precision=precision, backend=BACKENDS.find("onnxruntime"))


def open_artifact(artifact: Artifact, request: Request) -> FileRunner:
    """Open a runner with the build options that its backend reads. An engine built in this job may contain host code."""
    taken, build = build_options_of(artifact.backend), request.build
    options = OpenOptions(
        device=f"cuda:{build.device}" if build.device and "device" in taken else None,
        custom_ops=request.ort_custom_ops,
        plugin_libs=tuple(map(Path, build.plugin_libs)) if "plugin_libs" in taken else (),
        allow_host_code=True,
    )
    return artifact.backend.open(artifact.path, options)


def try_open(artifact: Artifact, request: Request) -> tuple[FileRunner | None, str]:
    """A runner, or ``None`` and the reason why the file cannot run here."""
    if request.build.strip_weights and "strip_weights" in build_options_of(artifact.backend):
        return None, "the plan holds no weights (--strip-weights)"
    try:
        return open_artifact(artifact, request), ""
    except DependencyError as error:
        return None, f"it cannot run here: {error.message}"


def open_emulated(artifact: Artifact, request: Request, workdir: Path) -> FileRunner:
    """Open a float32 graph that rounds after each node as the reduced-precision graph does.

    On a CPU, ONNX Runtime itself computes half precision in float32 between casts, and does not support bfloat16."""
    from adaptrt.graph.reduced_precision import write_emulated

    rounded = workdir / "rounded.onnx"
    write_emulated(artifact.path, rounded)
    options = OpenOptions(custom_ops=request.ort_custom_ops, optimize=False)
    return artifact.backend.open(rounded, options)


def runs_as_it_is(artifact: Artifact, request: Request) -> bool:
    """Whether the backend of a graph computes in its precision."""
    return artifact.backend.express(artifact.precision, target_of(request)).runs


def open_reduced(artifact: Artifact, request: Request, workdir: Path) -> FileRunner:
    """Open a reduced-precision graph on a CPU: the file itself if ONNX Runtime supports it, else emulated."""
    if runs_as_it_is(artifact, request):
        return open_artifact(artifact, request)
    return open_emulated(artifact, request, workdir)


def why_float32(request: Request, precision: Precision) -> str:
    """Why there is no reduced-precision graph to compare."""
    if precision.form == "cast" and not wants_reduced_graph(request):
        titles = [target.title for target in targets_of(request)]
        verb = "takes" if len(titles) == 1 else "take"
        return f"the graph stays float32: {' and '.join(titles)} {verb} {precision.name} as a build option"
    if precision.form == "qdq":
        return f"the graph keeps its types: {precision.name} comes from its own Q/DQ nodes"
    if precision.form == "cast":
        return f"the graph is already in {precision.name}"
    return "the graph stays float32"
