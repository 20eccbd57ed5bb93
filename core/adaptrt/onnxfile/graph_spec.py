"""A spec for ONNX files without one."""

from __future__ import annotations

from adaptrt.errors import ShapeError, did_you_mean
from adaptrt.onnxfile.reader import OnnxFile, Tensor
from adaptrt.request import ShapeRequest
from adaptrt.specs import Dim, InputSpec, ModelSpec, OutputSpec, Shape


def spec_of_graph(file: OnnxFile, shapes: ShapeRequest | None = None) -> ModelSpec:
    """A spec for a file without one; the sizes of dynamic axes must be given.

    A requested batch or image size applies to the first input, even if the graph has a different one: the later check
    of the spec against the graph reports that.
    """
    shapes = shapes or ShapeRequest()
    unknown = [name for name in shapes.shapes if name not in [tensor.name for tensor in file.inputs]]
    if unknown:
        raise ShapeError(
            f"The graph has no input {unknown[0]!r}.",
            hint=did_you_mean(unknown[0], [tensor.name for tensor in file.inputs]),
        )
    inputs = tuple(
        InputSpec(
            tensor.name, shapes.shapes.get(tensor.name) or (_shape_of(tensor, shapes, first=not index),), tensor.dtype
        )
        for index, tensor in enumerate(file.inputs)
    )
    outputs = tuple(
        OutputSpec(tensor.name, tuple(size if size is not None else "?" for size in tensor.shape), tensor.dtype)
        for tensor in file.outputs
    )
    return ModelSpec(inputs, outputs)


def _shape_of(tensor: Tensor, shapes: ShapeRequest, *, first: bool) -> Shape:
    axes: list[Dim] = []
    for axis, size in enumerate(tensor.shape):
        asked = shapes.batch if axis == 0 else None
        if axis >= 2 and len(tensor.shape) == 4 and shapes.imgsz:
            asked = Dim.fixed(shapes.imgsz[axis - 2])
        if asked is not None and (first or not isinstance(size, int)):
            axes.append(asked)
        elif isinstance(size, int):
            axes.append(Dim.fixed(size))
        else:
            example = "x".join("1..16" if not isinstance(known, int) else str(known) for known in tensor.shape)
            raise ShapeError(
                f"Input {tensor.name!r} has dynamic axes ({_axes(tensor.shape)}), and the file does not define their sizes.",
                hint=f"Specify them: --shape {tensor.name}={example}",
            )
    return tuple(axes)


def _axes(shape: tuple[int | str | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape)
