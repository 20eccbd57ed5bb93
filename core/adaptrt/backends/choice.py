"""Which backends a request means, and for which target the graph is made: known before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adaptrt.errors import UsageError
from adaptrt.request import Request
from adaptrt.specs import Precision, Target, precision_named
from adaptrt.specs.backends import BACKENDS, Backend, Expression, backend_named, suffix_of, target_named

# without --to; an engine is built where it can be
_DEFAULT = ("onnxruntime", "tensorrt")


@dataclass(frozen=True)
class Chosen:
    """A backend whose file is to be written, with the suffix of that file; ``asked``: named by the user."""

    backend: Backend
    suffix: str
    asked: bool

    @property
    def builds(self) -> bool:
        """Whether it builds its file: the ONNX file is there already."""
        return ".onnx" not in self.backend.suffixes


def chosen_backends(request: Request) -> list[Chosen]:
    """The backends of ``--to``, each once, in that order; the suffix of ``-o`` names the file of its backend."""
    output = _of_output(request.output)
    if not request.to:
        chosen = [_chosen(name, asked=False) for name in _DEFAULT]
        if output is not None and output.backend.name not in _DEFAULT:
            chosen[-1] = output
    else:
        chosen = [_chosen(word, asked=True) for word in request.to]
    found: dict[str, Chosen] = {}
    for one in chosen:
        found.setdefault(one.backend.name, one)
    if output is not None:
        if output.backend.name not in found:
            raise UsageError(
                f"-o {request.output} is a file of {output.backend.title}, which --to {','.join(request.to)} leaves out.",
                hint=f"Add it: --to {','.join((*request.to, output.suffix.removeprefix('.')))}",
            )
        found[output.backend.name] = Chosen(output.backend, output.suffix, found[output.backend.name].asked)
    return list(found.values())


def _chosen(word: str, *, asked: bool) -> Chosen:
    backend, suffix = backend_named(word)
    return Chosen(backend, suffix, asked)


def _of_output(output: Path | None) -> Chosen | None:
    found = suffix_of(output) if output is not None and not output.is_dir() else None
    return Chosen(*found, asked=True) if found else None


def target_of(request: Request) -> Target:
    """What the graph is made for: what was asked for, else what the backends have in common, else their default."""
    chosen = [one for one in chosen_backends(request) if one.backend.targets]
    if not chosen:
        return target_named(request.target) if request.target else _default_target()
    shared = [name for name in chosen[0].backend.targets if all(name in one.backend.targets for one in chosen)]
    words = " and ".join(f"--to {one.suffix.removeprefix('.')}" for one in chosen)
    if not shared:
        each = "; ".join(f"{one.backend.title}: {', '.join(sorted(one.backend.targets))}" for one in chosen)
        raise UsageError(f"{words} need graphs for different targets ({each}).", hint="Convert once for each.")
    if request.target is None:
        return chosen[0].backend.targets[shared[0]]
    asked = target_named(request.target)
    if asked.name not in shared:
        builder = next((one for one in BACKENDS.all() if asked.name in one.targets), None)
        raise UsageError(
            f"--target {asked.name} and {words} contradict each other: {chosen[0].backend.title} takes "
            f"{', '.join(sorted(shared))}.",
            hint=f"Give --to {builder.suffixes[0].split('.')[1]}, or leave out --target." if builder else None,
        )
    return chosen[0].backend.targets[asked.name]


def _default_target() -> Target:
    return next(iter(BACKENDS.find(_DEFAULT[-1]).targets.values()))


def deciding_backends(request: Request) -> list[Backend]:
    """Those that decide how a precision is expressed: what builds; where nothing is built, who runs the ONNX file."""
    chosen = chosen_backends(request)
    return [one.backend for one in chosen if one.builds] or [one.backend for one in chosen]


def expressions(request: Request, precision: Precision | None = None) -> dict[str, Expression]:
    """How each backend that decides computes in the precision, by the backend's name."""
    precision, target = precision or precision_named(request.precision), target_of(request)
    return {backend.name: backend.express(precision, target) for backend in deciding_backends(request)}


def wants_reduced_graph(request: Request) -> bool:
    """Whether a graph is to be written that holds casts: a precision that some backend takes from the graph."""
    precision = precision_named(request.precision)
    return precision.form == "cast" and any(one.graph for one in expressions(request, precision).values())


def words_of(chosen: Sequence[Chosen]) -> str:
    """``onnx, engine``."""
    return ", ".join(one.suffix.removeprefix(".") for one in chosen)
