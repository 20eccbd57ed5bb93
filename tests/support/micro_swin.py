"""A micro Swin with perturbed weights, exports of it, and what must not be in its graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import timm
import torch
from packaging.version import Version

from adaptrt import Dim, InputSpec, ModelSpec, OutputSpec, Patch
from adaptrt.export.torch_onnx import export_onnx
from adaptrt.patching import applied, require_called
from adaptrt.plugins.facade import Contributed

NAME = "swin_tiny_patch4_window7_224"
# two stages of a plain and a shifted block: 16 x 16 tokens in 16 windows, 8 x 8 in 4
MICRO: dict[str, Any] = {"embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4, "img_size": 64}
FORBIDDEN = {"Shape", "Size", "Mod", "ScatterND", "Unsqueeze", "Squeeze", "Range", "Expand", "Where", "Cast", "Slice"}

# before it, odd grids failed in timm itself, each stage had the same window, and unknown arguments were ignored
OLD = Version(timm.__version__) < Version("1.0.31")
not_in_old = pytest.mark.skipif(OLD, reason="timm before 1.0.31 cannot do this")


def perturb(model: Any, seed: int = 0) -> Any:
    """Weights away from their initialization, where outputs hardly depend on the input; biases and tables included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "bias_table" not in name:
                noise *= 0.3 if parameter.ndim < 2 else 1.0 / parameter[0].numel() ** 0.5
            parameter.add_(noise)
    return model.eval()


def micro(**changes: Any) -> Any:
    torch.manual_seed(0)
    return perturb(timm.create_model(NAME, **{**MICRO, "num_classes": 7, **changes}))


def images(model: Any, batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, 3, *model.patch_embed.img_size), generator=generator)


def run_patched(model: Any, patches: Sequence[Patch], x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), applied(model, [Contributed(patch, "test") for patch in patches]) as records:
        result: torch.Tensor = model(x)
        require_called(records)
    return result


def export(model: Any, patches: Sequence[Patch], path: Path, exporter: Any = "torchscript") -> onnx.ModelProto:
    """The graph of the model with these patches, batch dynamic, after core's passes, with the shapes of its values."""
    import onnx_ir

    from adaptrt.graph.passes import standard_passes

    height, width = model.patch_embed.img_size
    spec = ModelSpec(
        inputs=(InputSpec.image(height, width, batch=Dim(1, 2, 8, "batch")),), outputs=(OutputSpec("logits"),)
    )
    inputs = {"images": images(model, 2)}
    with applied(model, [Contributed(patch, "test") for patch in patches]):
        export_onnx(model, inputs, spec, path, exporter=exporter, opset=17 if exporter == "torchscript" else 18)
    graph = onnx_ir.from_proto(onnx.load(str(path)))
    for found in sorted(standard_passes(with_onnxsim=False), key=lambda found: found.order):
        graph = found.run(graph) or graph
    proto = onnx.shape_inference.infer_shapes(onnx_ir.to_proto(graph), strict_mode=True, data_prop=True)
    onnx.save(proto, str(path))
    return proto


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]


def most_axes(proto: onnx.ModelProto) -> int:
    values = [*proto.graph.value_info, *proto.graph.output, *proto.graph.input]
    return max(len(value.type.tensor_type.shape.dim) for value in values)


def negative_indices(proto: onnx.ModelProto) -> list[str]:
    """Nodes that gather with a negative constant index."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    return [
        node.name
        for node in proto.graph.node
        if node.op_type == "Gather" and np.any(constants.get(node.input[1], np.zeros(1)) < 0)
    ]
