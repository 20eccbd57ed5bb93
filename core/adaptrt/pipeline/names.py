"""The names of inputs and outputs, from the adapter, the model and the user's request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from adaptrt.errors import ModelError, UsageError
from adaptrt.specs import ModelSpec, OutputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


def name_inputs(spec: ModelSpec, wanted: Sequence[str]) -> ModelSpec:
    """The spec with the names of ``--input-names``, if any; references to inputs are renamed too."""
    if not wanted:
        return spec
    _check("input", wanted, [tensor.name for tensor in spec.inputs])
    names = dict(zip((tensor.name for tensor in spec.inputs), wanted, strict=True))
    image = replace(spec.image, input=names[spec.image.input]) if spec.image else None
    inputs = tuple(replace(tensor, name=names[tensor.name]) for tensor in spec.inputs)
    return replace(spec, inputs=inputs, image=image)


def name_outputs(spec: ModelSpec, wanted: Sequence[str], given: Mapping[str, NDArray[Any]]) -> ModelSpec:
    """The spec with the model's outputs (``given``), the adapter's descriptions and the requested names."""
    if spec.outputs and len(spec.outputs) != len(given):
        raise ModelError(
            f"The spec defines {len(spec.outputs)} outputs, but the model returns {len(given)} ({', '.join(given)}).",
            hint="The adapter's model_spec must define all outputs or none.",
        )
    outputs = spec.outputs or tuple(OutputSpec(name) for name in given)
    if wanted:
        _check("output", wanted, [output.name for output in outputs])
    names = wanted or tuple(output.name for output in outputs)
    taken = next((name for name in names if name in {tensor.name for tensor in spec.inputs}), None)
    if taken is not None:  # value names in a graph are unique
        free = ",".join(f"{name}_out" if name == taken else name for name in names)
        raise ModelError(
            f"{taken!r} is the name of both an input and an output.", hint=f"Rename the outputs: --output-names {free}"
        )
    for output, array in zip(outputs, given.values(), strict=True):
        _check_groups(output, array.shape)
    named = zip(outputs, names, given.values(), strict=True)
    return replace(
        spec, outputs=tuple(replace(output, name=name, dtype=array.dtype.name) for output, name, array in named)
    )


def _check_groups(output: OutputSpec, shape: tuple[int, ...]) -> None:
    for group in output.groups:
        if group.axis is None:
            continue
        what = f"Group {group.name!r} of output {output.name!r}"
        if not -len(shape) <= group.axis < len(shape):
            raise ModelError(
                f"{what} is along axis {group.axis}, but the output is {list(shape)}.",
                hint="Correct its axis in the adapter's model_spec.",
            )
        size = shape[group.axis]
        given = group.start or 0, size if group.stop is None else group.stop
        start, stop = (size + bound if bound < 0 else bound for bound in given)
        if not 0 <= start < stop <= size:
            raise ModelError(
                f"{what} is {given[0]}:{given[1]} along axis {group.axis}, which has {size} entries.",
                hint="Correct its start and stop in the adapter's model_spec.",
            )


def _check(kind: str, wanted: Sequence[str], known: Sequence[str]) -> None:
    if len(wanted) != len(known):
        raise UsageError(
            f"--{kind}-names has {len(wanted)} names; the model has {len(known)} {kind}s.",
            hint=f"Specify one name for each of: {', '.join(known)}",
        )
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice is not None:
        raise UsageError(
            f"--{kind}-names contains {twice!r} more than once.",
            hint=f"Specify a different name for each of: {', '.join(known)}",
        )
