"""Selects the backends of a request, and the target of the graph, before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.request import Request
from adaptrt.specs import Precision, Target, precision_named
from adaptrt.specs.backend_calls import expression_of
from adaptrt.specs.backends import (
    BACKENDS,
    Backend,
    Expression,
    backend_named,
    default_backends,
    runs_onnx,
    suffix_of,
    target_named,
    word_of,
)


@dataclass(frozen=True)
class Chosen:
    """A backend whose file is to be written, with the suffix of that file; ``asked``: requested by the user."""

    backend: Backend
    suffix: str
    asked: bool

    @property
    def builds(self) -> bool:
        """Whether the backend builds its file; the ONNX file already exists."""
        return not runs_onnx(self.backend)


def chosen_backends(request: Request) -> list[Chosen]:
    """The backends of ``--to``, without duplicates, in order; the suffix of ``-o`` selects the backend of that file."""
    output = _of_output(request.output)
    if not request.to:
        chosen = [Chosen(one, one.suffixes[0], asked=False) for one in default_backends()]
        if output is not None and output.backend not in default_backends():
            chosen = [*(one for one in chosen if not one.builds), output]
    else:
        chosen = [Chosen(*backend_named(word), asked=True) for word in request.to]
    found: dict[str, Chosen] = {}
    for one in chosen:
        found.setdefault(one.backend.name, one)
    if output is not None:
        if output.backend.name not in found:
            raise UsageError(
                f"-o {request.output} is a file of {output.backend.title}, which --to {','.join(request.to)} does not include.",
                hint=f"Add it: --to {','.join((*request.to, output.suffix.removeprefix('.')))}",
            )
        found[output.backend.name] = output
    return list(found.values())


def _of_output(output: Path | None) -> Chosen | None:
    found = suffix_of(output) if output is not None and not output.is_dir() else None
    return Chosen(*found, asked=True) if found else None


def target_of(request: Request) -> Target:
    """The target of the graph: the requested one, else the first target of a backend whose graph all backends can read.

    Several backends build from one graph, each for its own target (``target_for``).
    """
    chosen = [one for one in chosen_backends(request) if one.backend.targets]
    if not chosen:
        return target_named(request.target) if request.target else default_target()
    asked = target_named(request.target) if request.target else None
    if asked is not None and not any(asked.name in one.backend.targets for one in chosen):
        builder = next((one for one in BACKENDS.all() if asked.name in one.targets), None)
        takes = "; ".join(f"{one.backend.title} supports {', '.join(sorted(one.backend.targets))}" for one in chosen)
        raise UsageError(
            f"--target {asked.name} and {_flags(chosen)} conflict: {takes}.",
            hint=f"Use --to {word_of(builder)}, or remove --target." if builder else None,
        )
    own = [target_for(one.backend, asked or next(iter(one.backend.targets.values()))) for one in chosen]
    for target in [asked] if asked is not None else own:
        if all(other.reads_graph_of(target) for other in own):
            return target
    each = "; ".join(f"{one.title}: opset {one.newest_opset}, {one.exporter or 'either'} exporter" for one in own)
    raise UsageError(
        f"{_flags(chosen)} require graphs for different targets ({each}).", hint="Run a separate conversion for each."
    )


def target_for(backend: Backend, graph: Target) -> Target:
    """The target that a backend builds for, given the target of the graph: the same if supported, else its default."""
    return backend.targets.get(graph.name) or next(iter(backend.targets.values()), graph)


def targets_of(request: Request) -> list[Target]:
    """All targets that are built for, without duplicates; the graph check applies the rules of each."""
    graph = target_of(request)
    found = [target_for(one.backend, graph) for one in chosen_backends(request) if one.builds]
    return list({target.name: target for target in found or [graph]}.values())


def _flags(chosen: Sequence[Chosen]) -> str:
    return " and ".join(f"--to {one.suffix.removeprefix('.')}" for one in chosen)


def default_target() -> Target:
    """The target of graphs if none is requested: the first target of a default backend."""
    return next(target for backend in default_backends() for target in backend.targets.values())


def deciding_backends(request: Request) -> list[Backend]:
    """The backends that decide how a precision is expressed: those that build; if none does, those that run the ONNX file."""
    chosen = chosen_backends(request)
    return [one.backend for one in chosen if one.builds] or [one.backend for one in chosen]


def expressions(request: Request, precision: Precision | None = None) -> dict[str, Expression]:
    """How each backend that decides computes in the precision, by the backend's name."""
    precision, graph = precision or precision_named(request.precision), target_of(request)
    return {one.name: expression_of(one, precision, target_for(one, graph)) for one in deciding_backends(request)}


def wants_reduced_graph(request: Request, precision: Precision | None = None) -> bool:
    """Whether to write a graph with casts: at least one backend reads this precision from the graph."""
    precision = precision or precision_named(request.precision)
    return precision.form == "cast" and any(one.graph for one in expressions(request, precision).values())


def words_of(chosen: Sequence[Chosen]) -> str:
    """``onnx, engine``."""
    return ", ".join(one.suffix.removeprefix(".") for one in chosen)
