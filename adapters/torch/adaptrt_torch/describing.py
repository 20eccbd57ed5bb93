"""The spec of a module without metadata: from the requested shapes and the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from adaptrt import (
    Conversion,
    DecoderSpec,
    Dim,
    ImageTransform,
    InputSpec,
    ModelSpec,
    ShapeError,
    UsageError,
    did_you_mean,
    find_decoder,
)
from adaptrt_torch.calling import input_order
from adaptrt_torch.programs import Program

if TYPE_CHECKING:
    from torch import nn

_DTYPES = ("float32", "float16", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")


def describe(ctx: Conversion, model: nn.Module) -> ModelSpec:
    """Inputs as requested, or those of an exported program; outputs are determined by running the model."""
    options = ctx.options
    inputs = _typed(_inputs(ctx, model), options.dtypes)
    unknown = [name for name in options.ranges if name not in {tensor.name for tensor in inputs}]
    if unknown:
        raise UsageError(
            f"--set ranges.{unknown[0]}: the model has no such input.",
            hint=did_you_mean(unknown[0], [tensor.name for tensor in inputs]),
        )
    if options.ranges and ctx.request.input_names:
        raise UsageError(
            "--set ranges cannot be combined with --input-names.", hint="Name the inputs in --shape instead."
        )
    scripted = any(isinstance(part, torch.jit.ScriptModule) for part in model.modules())
    if scripted and ctx.request.exporter == "dynamo":
        raise UsageError("The dynamo exporter does not accept TorchScript.", hint="Omit --exporter dynamo.")
    spec = ModelSpec(
        inputs=inputs,
        task=find_decoder(options.decoder).predicts,
        image=_transform(ctx, inputs),
        decoder=DecoderSpec(options.decoder),
        labels=options.class_names,
        exporter="torchscript" if scripted else None,
    )
    if isinstance(model, Program):
        for tensor, asked in zip(inputs, ctx.request.shapes.apply(spec)[0].inputs, strict=True):
            _require_possible(tensor, asked.profiles)
    return spec


def values_in_ranges(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, torch.Tensor]:
    """Uniform values for the inputs that have a range, both ends included for integers."""
    rng = np.random.default_rng(seed + ctx.request.seed)
    tensors = {}
    for name, (low, high) in ctx.options.ranges.items():
        dtype = np.dtype(spec.input(name).dtype)
        whole = not np.issubdtype(dtype, np.floating)
        values = rng.integers(int(low), int(high) + 1, shapes[name]) if whole else rng.uniform(low, high, shapes[name])
        tensors[name] = torch.from_numpy(np.asarray(values).astype(dtype))
    return tensors


def _inputs(ctx: Conversion, model: nn.Module) -> tuple[InputSpec, ...]:
    asked = ctx.request.shapes.shapes
    if isinstance(model, Program):
        given = {tensor.name for tensor in model.inputs}
        if asked and set(asked).isdisjoint(given) and len(asked) == len(given):
            named = zip(model.inputs, asked, strict=True)
            return tuple(replace(tensor, name=name) for tensor, name in named)
        return model.inputs
    if asked:
        return _named([InputSpec(name, asked[name]) for name in input_order(model, tuple(asked))])
    if ctx.request.shapes.imgsz is None:
        raise ShapeError(
            "The input shapes of the model are unknown.",
            hint="Specify each input (--shape images=1..8x3x224x224), or use --imgsz 224 for a single image input.",
        )
    height, width = ctx.request.shapes.imgsz
    return (InputSpec.image(height, width),)


def _require_possible(tensor: InputSpec, asked: Sequence[tuple[Dim, ...]]) -> None:
    """Raise a ``ShapeError`` if a requested range exceeds that of the exported program."""
    for shape in asked:
        for axis, (wanted, possible) in enumerate(zip(shape, tensor.dims, strict=False)):
            if wanted.min not in possible or wanted.max not in possible:
                raise ShapeError(
                    f"Axis {axis} of input {tensor.name!r} is requested as {wanted}; the exported program accepts {possible}.",
                    hint="Export the program again with that axis dynamic, or request a size that it accepts.",
                )


def _named(inputs: list[InputSpec]) -> tuple[InputSpec, ...]:
    """Name every dynamic axis; inputs whose first axes have the same range share the batch.

    Two ranges for one name are an error.
    """
    first = inputs[0].profiles[0][0] if inputs[0].profiles[0] else None
    batch = (first.name or "batch") if first is not None and first.dynamic else None
    ranges: dict[str, tuple[str, list[tuple[int, int, int]]]] = {}
    named = []
    for tensor in inputs:
        profiles = []
        for shape in tensor.profiles:
            axes = []
            for index, axis in enumerate(shape):
                name = axis.name
                if axis.dynamic and name is None:
                    alike = first is not None and (axis.min, axis.opt, axis.max) == (first.min, first.opt, first.max)
                    name = batch if index == 0 and alike else f"{tensor.name.replace('.', '_')}_{index}"
                axes.append(replace(axis, name=name))
            profiles.append(tuple(axes))
        named.append(replace(tensor, profiles=tuple(profiles)))
        for index in range(len(profiles[0])):
            name = profiles[0][index].name
            if name is None:
                continue
            sizes = [(shape[index].min, shape[index].opt, shape[index].max) for shape in profiles]
            place, known = ranges.setdefault(name, (f"axis {index} of {tensor.name}", sizes))
            if known != sizes:
                raise ShapeError(
                    f"{name} is {profiles[0][index]} at axis {index} of {tensor.name}, but has another range at {place}.",
                    hint="Axes with the same name always have the same size: use the same range, or different names.",
                )
    return tuple(named)


def _typed(inputs: tuple[InputSpec, ...], dtypes: Mapping[str, str]) -> tuple[InputSpec, ...]:
    names = [tensor.name for tensor in inputs]
    for name, dtype in dtypes.items():
        if name not in names:
            raise UsageError(f"--set dtypes.{name}: the model has no such input.", hint=did_you_mean(name, names))
        if dtype not in _DTYPES:
            raise UsageError(f"--set dtypes.{name}={dtype}: unknown dtype.", hint=did_you_mean(dtype, _DTYPES))
    return tuple(replace(tensor, dtype=dtypes.get(tensor.name, tensor.dtype)) for tensor in inputs)


def _transform(ctx: Conversion, inputs: tuple[InputSpec, ...]) -> ImageTransform | None:
    """The image transform of the input named by ``--set image``, else of the only input if it looks like an image."""
    options = ctx.options
    if options.image == "none":
        return None
    names = [tensor.name for tensor in inputs]
    if options.image is not None and options.image not in names:
        raise UsageError(
            f"--set image={options.image}: the model has no such input.", hint=did_you_mean(options.image, names)
        )
    name = options.image or names[0]
    tensor = inputs[names.index(name)]
    channels = tensor.dims[1] if len(tensor.dims) == 4 else Dim(1, 1, 2)
    fits = not channels.dynamic and tensor.dtype.startswith("float")
    if not fits or (options.image is None and channels != Dim.fixed(3)):
        if options.image is not None:
            raise UsageError(f"--set image={name}: an image input must be B x channels x height x width, float32.")
        return None
    if len(inputs) > 1 and options.image is None:
        return None
    return ImageTransform(
        input=name,
        resize=options.resize,
        interpolation=options.interpolation,
        library=options.library,
        colors=options.colors,
        scale=options.scale,
        mean=options.mean,
        std=options.std,
        crop_fraction=options.crop_fraction,
    )
