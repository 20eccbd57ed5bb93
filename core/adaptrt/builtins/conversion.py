"""Default hooks of a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.contributions import GraphPass
from adaptrt.hookspecs import hookimpl
from adaptrt.request import Conversion
from adaptrt.specs import DecoderSpec, ImageTransform, InputSpec, ModelSpec

if TYPE_CHECKING:
    import torch
    from torch import nn


@hookimpl(trylast=True)
def model_spec() -> ModelSpec:
    return ModelSpec(inputs=(InputSpec.image(640, 640),), image=ImageTransform(), decoder=DecoderSpec("raw"))


@hookimpl(trylast=True)
def example_inputs(
    ctx: Conversion, spec: ModelSpec, shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, torch.Tensor]:
    import torch

    from adaptrt.vision.examples import example_arrays

    arrays = example_arrays(spec, shapes, seed + ctx.request.seed, ctx.request.image, ctx.integers)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


@hookimpl(trylast=True)
def export_onnx(ctx: Conversion, model: nn.Module, inputs: Mapping[str, torch.Tensor], spec: ModelSpec) -> Path:
    from adaptrt.builtins.exporting import export

    return export(ctx, model, inputs, spec)


@hookimpl(trylast=True)
def graph_passes(ctx: Conversion, spec: ModelSpec) -> list[GraphPass]:
    from adaptrt.backends.choice import target_of
    from adaptrt.graph.passes import standard_passes

    shapes = spec.trace_shapes
    return standard_passes(with_onnxsim=ctx.request.simplify, shapes=shapes, target=target_of(ctx.request))
