"""The rule ``raw-output``: an engine outputs boxes and scores, not raw maps that have to be decoded outside of it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from adaptrt.graph.lint.hits import Hit
from adaptrt.specs import ModelSpec, task_named

# what only moves values about: between the last layer and an output it decodes nothing
_LAYOUT = frozenset(["Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"])
_LAYERS = frozenset(["Conv", "ConvTranspose"])


def raw_outputs(model: ir.Model, spec: ModelSpec | None) -> Iterator[Hit]:
    """Logits returned by a detector, and raw convolution outputs at several scales.

    A single map may be a segmentation, and the logits of a classifier need no decoding.
    """
    decoded = spec is not None and task_named(spec.task).decoded_in_graph
    logits = _logits(spec) if decoded else set()
    maps: list[ir.Value] = []
    for value in model.graph.outputs:
        if value.name in logits:
            yield Hit("raw-output", "", value.producer(), f"output {value.name} contains logits")
        elif _rank(value) >= 4 and _from_layer(value):
            maps.append(value)
    if len({_sizes(value) for value in maps}) > 1:
        names = ", ".join(str(value.name) for value in maps)
        for value in maps:
            yield Hit(
                "raw-output",
                "",
                value.producer(),
                f"{names} are raw convolution outputs",
                "warning" if decoded else None,
            )


def _logits(spec: ModelSpec | None) -> set[str]:
    outputs = spec.outputs if spec is not None else ()
    return {output.name for output in outputs if any(group.unit == "logits" for group in output.groups)}


def _from_layer(value: ir.Value) -> bool:
    """Whether nothing but a change of layout lies between a convolution and this output."""
    pending, seen = [value], set()
    found = False
    while pending:
        node = pending.pop().producer()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.op_type in _LAYERS:
            found = True
        elif node.op_type in _LAYOUT:
            pending.extend(one for one in (node.inputs if node.op_type == "Concat" else node.inputs[:1]) if one)
        else:
            return False
    return found


def _rank(value: ir.Value) -> int:
    return len(value.shape) if value.shape is not None else 0


def _sizes(value: ir.Value) -> tuple[str, ...]:
    """The sizes behind the batch, as text: symbols compare by their names."""
    return tuple(str(size) for size in value.shape or ())[1:]
