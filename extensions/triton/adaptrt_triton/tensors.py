"""Inputs and outputs of a spec as Triton describes them."""

from __future__ import annotations

from dataclasses import dataclass

from adaptrt import Dim, ModelSpec, UsageError
from adaptrt_triton.text_format import Name, Value

TYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
}


@dataclass(frozen=True)
class Batching:
    """``largest``: ``max_batch_size``, 0 if the batch is fixed. ``preferred``: batch sizes that an engine was optimized for."""

    largest: int
    preferred: tuple[int, ...] = ()


def batching_of(spec: ModelSpec) -> Batching:
    """The batching that the profiles allow; a ``UsageError`` if Triton cannot batch the model."""
    axes = [tensor.dims[0] for tensor in spec.inputs if tensor.dims]
    if len(axes) != len(spec.inputs) or not axes:
        raise UsageError("Triton requires inputs with at least one axis.")
    if not all(axis.dynamic for axis in axes):
        return Batching(0)
    low, high = max(axis.min for axis in axes), min(axis.max for axis in axes)
    if low > 1:
        raise UsageError(
            f"The model accepts batches of {low} to {high}, but Triton also sends single samples.",
            hint=f"Convert it with --batch 1:{high}.",
        )
    for output in spec.outputs:
        if not output.dims or isinstance(output.dims[0], int):
            raise UsageError(
                f"Output {output.name!r} has no batch axis, so Triton cannot split it between requests.",
                hint="Convert the model with --batch 1.",
            )
    preferred = {dim for shape in spec.inputs[0].profiles for dim in (shape[0].opt, shape[0].max)}
    return Batching(high, tuple(sorted(preferred - {1})))


def inputs_of(spec: ModelSpec, batching: Batching, *, opt: bool = False) -> list[dict[str, Value]]:
    """The inputs without the batch axis, if Triton batches; dynamic axes are -1, or with ``opt`` their opt size."""
    skip = 1 if batching.largest else 0
    return [
        {
            "name": tensor.name,
            "data_type": data_type(tensor.dtype),
            "dims": [_size(dim, opt) for dim in (tensor.profiles[0] if opt else tensor.dims)[skip:]],
        }
        for tensor in spec.inputs
    ]


def outputs_of(spec: ModelSpec, batching: Batching) -> list[dict[str, Value]]:
    """The outputs likewise."""
    skip = 1 if batching.largest else 0
    return [
        {
            "name": output.name,
            "data_type": data_type(output.dtype),
            "dims": [dim if isinstance(dim, int) else -1 for dim in output.dims[skip:]],
        }
        for output in spec.outputs
    ]


def data_type(dtype: str) -> Name:
    if dtype not in TYPES:
        raise UsageError(f"Triton has no data type for {dtype}.")
    return Name(f"TYPE_{TYPES[dtype]}")


def _size(dim: Dim, opt: bool) -> int:
    return -1 if dim.dynamic and not opt else dim.opt
