"""The inputs that forms of a model are run on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from adaptrt.errors import UsageError, did_you_mean
from adaptrt.onnxfile.graph_spec import spec_of_graph
from adaptrt.pipeline.layers.polygraphy import read_inputs
from adaptrt.pipeline.layers.request import InputRequest
from adaptrt.pipeline.verification.samples import sample_shapes
from adaptrt.quantities import counted

if TYPE_CHECKING:
    from adaptrt.onnxfile.reader import OnnxFile
    from adaptrt.specs import ModelSpec
    from adaptrt.specs.tensors import Arrays


def spec_for(file: OnnxFile, request: InputRequest) -> ModelSpec:
    """The spec of a file at the requested shapes."""
    if file.spec is None:
        return spec_of_graph(file, request.shapes)
    return request.shapes.apply(file.spec)[0]


def input_samples(request: InputRequest, spec: ModelSpec) -> tuple[list[Arrays], str]:
    """The samples, and what they are in a few words."""
    if request.file is not None:
        samples = [_checked(one, spec, request) for one in read_inputs(request.file)]
        return samples, f"{request.file}{f', {len(samples)} iterations' if len(samples) > 1 else ''}"
    if request.image is not None and spec.image is None:
        raise UsageError(
            "--image requires a file that contains its preprocessing.",
            hint="Write a copy that does: adaptrt adopt; or pass preprocessed inputs: --inputs inputs.npz",
        )
    from adaptrt.vision.examples import example_arrays

    shapes = sample_shapes(spec)[0]
    samples = [example_arrays(spec, shapes, request.seed + index, request.image) for index in range(request.samples)]
    if request.image is not None:
        return samples, f"{request.image}{f' and {request.samples - 1} variations' if request.samples > 1 else ''}"
    kind = "image-like noise" if spec.image is not None else "random values"
    return samples, f"{kind}, {counted(request.samples, 'sample')}"


def _checked(given: Arrays, spec: ModelSpec, request: InputRequest) -> Arrays:
    """The inputs by the names of the spec; a single one may have another name."""
    wanted = [tensor.name for tensor in spec.inputs]
    if len(wanted) == 1 and len(given) == 1:
        given = {wanted[0]: next(iter(given.values()))}
    missing = next((name for name in wanted if name not in given), None)
    if missing is not None:
        raise UsageError(f"{request.file} has no array for input {missing!r}.", hint=did_you_mean(missing, list(given)))
    return {name: given[name] for name in wanted}


def renamed(samples: Sequence[Arrays], names: Sequence[str]) -> list[Arrays]:
    """The same samples for a form whose inputs have these names, by position where they differ."""
    return [dict(one) if set(one) == set(names) else dict(zip(names, one.values(), strict=False)) for one in samples]
