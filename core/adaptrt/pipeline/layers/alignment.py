"""Which tensors two forms of a model have in common, through renames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from adaptrt.graph.alignment import align, align_structure
from adaptrt.graph.tensors import GraphTensor, module_tensors
from adaptrt.pipeline.layers.subjects import EagerSubject, GraphSubject, Subject

_FLOATS = ("float16", "float32", "float64", "bfloat16", "")


@dataclass
class Aligned:
    """``names`` maps a tensor of the subject to its name in the reference; ``outputs`` are those of both, in order.

    ``tensors`` is the graph that orders them: the subject's, else the reference's.
    """

    tensors: list[GraphTensor]
    outputs: dict[str, str]
    names: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def inside(self) -> list[str]:
        """The tensors that are not outputs, in the order of the graph."""
        return [tensor.name for tensor in self.tensors if tensor.name in self.names and tensor.name not in self.outputs]


def align_subjects(reference: Subject, subject: Subject) -> Aligned:
    """Outputs by name, else by position; tensors inside by name, by node, by module, and by how they are computed."""
    tensors = subject.tensors if isinstance(subject, GraphSubject) else []
    if not tensors and isinstance(reference, GraphSubject):
        tensors = reference.tensors
    found = Aligned(tensors, _outputs(reference, subject))
    ends = set(found.outputs)
    if isinstance(subject, GraphSubject) and isinstance(reference, GraphSubject):
        names = align(reference.tensors, subject.tensors)
        unknown = {one.name for one in subject.tensors if one.computes and one.name not in names}
        if unknown:
            taken = set(names.values())
            same = align_structure(reference.graph, subject.graph, {**names, **found.outputs})
            renamed = {name: twin for name, twin in same.items() if name in unknown and twin not in taken}
            names |= renamed
            inside = len(renamed.keys() - ends)
            if inside:
                found.notes.append(f"renamed tensors that were found by how they are computed: {inside}")
        found.notes += _missing(names, reference, subject, ends)
        own = {tensor.name: tensor for tensor in reference.tensors}
        found.names = {name: twin for name, twin in names.items() if name not in ends and own[twin].dtype in _FLOATS}
    elif isinstance(reference, EagerSubject) and isinstance(subject, GraphSubject):
        found.names = _modules(reference, subject)
    else:  # results, which have nothing but names
        graph = subject if isinstance(subject, GraphSubject) else reference
        other = reference if graph is subject else subject
        known = set(other.outputs)
        own_names = [one.name for one in graph.tensors] if isinstance(graph, GraphSubject) else []
        found.names = {name: name for name in own_names if name in known and name not in ends}
    dtypes = {tensor.name: tensor.dtype for tensor in tensors}
    found.names = {name: twin for name, twin in found.names.items() if dtypes.get(name, "") in _FLOATS}
    return found


def _missing(names: Mapping[str, str], reference: GraphSubject, subject: GraphSubject, ends: set[str]) -> Iterator[str]:
    """A note on the tensors that have no counterpart: a difference may begin in one of them."""
    own = [one.name for one in subject.tensors if one.computes and one.dtype in _FLOATS]
    count = sum(name not in names and name not in ends for name in own)
    if count:
        yield (
            f"{count} of {len(own)} tensors of {subject.title} were not found in {reference.title}: a difference may begin in one of "
            "them, before the first tensor that is named"
        )


def _outputs(reference: Subject, subject: Subject) -> dict[str, str]:
    first, second = reference.outputs, subject.outputs
    same = [name for name in second if name in first]
    if same:
        return {name: name for name in same}
    return dict(zip(second, first, strict=False)) if len(first) == len(second) else {}


def _modules(reference: EagerSubject, subject: GraphSubject) -> dict[str, str]:
    """The tensor that leaves each module. A BatchNorm that is not in the graph was folded into the layer before it, which
    then returns its result."""
    calls = reference.calls()
    leaving: Mapping[str, str] = module_tensors(subject.tensors, subject.outputs)
    found: dict[str, str] = {}
    folded = {
        call.maker: call.path
        for call in calls
        if call.normalizes and call.path not in leaving and call.maker in leaving
    }
    for call in calls:
        name = leaving.get(call.path)
        if name is not None and name not in subject.outputs:
            found.setdefault(name, folded.get(call.path, call.path))
    return found
