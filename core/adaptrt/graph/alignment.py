"""The same tensors in two forms of a graph, through renames."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from adaptrt.graph.tensors import TYPES_ONLY, GraphTensor


def align(reference: Sequence[GraphTensor], subject: Sequence[GraphTensor]) -> dict[str, str]:
    """The tensors of ``subject`` that are also in ``reference``: their names there, by their names in ``subject``.

    By name; else by the name of the node. A name that is only a number must come from the same operator, since exporters count.
    """
    by_name = {tensor.name: tensor for tensor in reference}
    by_node = {(tensor.node, tensor.output): tensor for tensor in reference}
    found: dict[str, str] = {}
    for tensor in subject:
        same = by_name.get(tensor.name)
        if same is not None and not (same.name.isdigit() and same.operator != tensor.operator):
            found[tensor.name] = same.name
    taken = set(found.values())
    for tensor in subject:
        same = by_node.get((tensor.node, tensor.output))
        if tensor.name in found or same is None or same.name in taken or same.operator != tensor.operator:
            continue
        found[tensor.name] = same.name
        taken.add(same.name)
    return found


def align_structure(reference: ir.Model, subject: ir.Model, known: Mapping[str, str]) -> dict[str, str]:
    """Further tensors, by how they are computed from those that are ``known`` (names in ``reference`` by those in ``subject``).

    The same operators on the same inputs and weights make the same tensor, if there is only one of them. If no more are found so,
    weights of the same shape are enough, in any type: a tensor behind a weight that was changed is still the same one.
    """
    first, second = _Structure(reference), _Structure(subject)
    found: dict[str, str] = {}
    while True:
        ours = {**known, **found}
        theirs = {name: name for name in ours.values()}
        more = _pairs(first.marks(theirs, exact=True), second.marks(ours, exact=True))
        more = more or _pairs(first.marks(theirs, exact=False), second.marks(ours, exact=False))
        if not more:
            return found
        found |= more


def _pairs(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    once = {mark for mark, count in Counter(first.values()).items() if count == 1}
    once &= {mark for mark, count in Counter(second.values()).items() if count == 1}
    names = {mark: name for name, mark in first.items() if mark in once}
    return {name: names[mark] for name, mark in second.items() if mark in names}


class _Structure:
    """How each tensor of the main graph is computed; inputs count by position."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        weights = {name: value.const_value for name, value in model.graph.initializers.items()}
        self._weights = {
            exact: {name: _weights(one, exact=exact) for name, one in weights.items() if one is not None}
            for exact in (True, False)
        }
        self._attributes = {
            exact: [
                ",".join(f"{name}={_attribute(one, exact=exact)}" for name, one in sorted(node.attributes.items()))
                for node in model.graph
            ]
            for exact in (True, False)
        }

    def marks(self, known: Mapping[str, str], *, exact: bool) -> dict[str, str]:
        """A hash of each tensor that is not ``known``, which counts by the name given there. Unless ``exact``, weights count
        by their shape, and changes of a type do not count."""
        marks = {"None": "", **self._weights[exact]}
        inputs = [str(value.name) for value in self._graph.inputs if value.name not in self._graph.initializers]
        marks |= {name: _mark("input", str(position)) for position, name in enumerate(inputs)}
        found: dict[str, str] = {}
        for node, attributes in zip(self._graph, self._attributes[exact], strict=True):
            read = [marks.get(str(value.name) if value is not None else "None", "") for value in node.inputs]
            for output, value in enumerate(node.outputs):
                name = str(value.name)
                if name in known:
                    marks[name] = _mark("known", known[name])
                elif node.op_type in TYPES_ONLY and not exact:
                    marks[name] = read[0]
                else:
                    marks[name] = _mark(node.domain, node.op_type, attributes, str(output), *read)
                    if node.op_type not in TYPES_ONLY:
                        found[name] = marks[name]
        return found


def _weights(tensor: ir.TensorProtocol, *, exact: bool) -> str:
    array = tensor.numpy()
    return _mark("weights", str(array.shape), *((str(array.dtype), array.tobytes()) if exact else ()))


def _attribute(attribute: ir.Attr, *, exact: bool) -> str:
    if attribute.type == ir.AttributeType.TENSOR:
        return _weights(attribute.as_tensor(), exact=exact)
    return str(attribute.value)


def _mark(*parts: str | bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part if isinstance(part, bytes) else part.encode())
        digest.update(b"\0")
    return digest.hexdigest()
