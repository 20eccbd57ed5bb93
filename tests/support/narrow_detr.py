"""Narrow detectors of mmdet for tests: a few channels, layers and queries, perturbed weights."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import torch

from adaptrt import Conversion, ModelSpec, Patch, Request, ShapeRequest
from adaptrt.specs import parse_dynamic, parse_imgsz

CONFIG = Path(__file__).parents[1] / "fixtures" / "detr_shapes.py"
FIXTURE = CONFIG.with_suffix(".pth")
NARROW = {"model.num_queries": 5, "model.encoder.num_layers": 1, "model.decoder.num_layers": 2}
HEIGHT, WIDTH = 64, 96


def perturb(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Weights and statistics moved away from their initial values, so that outputs depend on the input."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point() and tensor.ndim:
                scale = 0.3 * tensor.std(correction=0) + 0.05
                tensor += scale * torch.randn(tensor.shape, generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_var"):
                buffer.abs_().add_(0.5)
    return module


def narrow_detr(
    tmp_path: Path, *, padding: str = "none", dynamic: str | None = None, source: Path = CONFIG
) -> tuple[Any, ModelSpec]:
    """A wrapped narrow DETR at 64 x 96, and its spec."""
    from adaptrt_mmdet.options import DetrOptions
    from adaptrt_mmdet.query_family import query_spec, wrap
    from adaptrt_mmdet.sources import open_source

    shapes = ShapeRequest(imgsz=parse_imgsz(f"{HEIGHT}x{WIDTH}"), dynamic=parse_dynamic(dynamic) if dynamic else None)
    ctx = Conversion(
        Request(str(source), "detr", shapes=shapes),
        DetrOptions(cfg=NARROW if source == CONFIG else {}, padding=padding),
        tmp_path,
    )
    opened = open_source(ctx)
    perturb(opened.detector)
    model = wrap(opened, ctx.options).eval()
    spec, _ = shapes.apply(query_spec(ctx, model))
    return model, spec


def inputs_of(
    spec: ModelSpec, batch: int = 2, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> dict[str, Any]:
    """Noise, and padding in every image where it is masked."""
    generator = torch.Generator().manual_seed(seed)
    arrays = {"images": torch.randn(batch, 3, *size, generator=generator)}
    if len(spec.inputs) == 2:
        masks = torch.zeros(batch, *size)
        for row in range(batch):
            masks[row, size[0] - 20 * row - 10 :] = 1
            masks[row, :, size[1] - 17 * (batch - row) :] = 1
        arrays["images"] = arrays["images"] * (1 - masks[:, None])
        arrays["masks"] = masks
    return arrays


def operators(
    model: Any, spec: ModelSpec, patches: list[Patch], path: Path, exporter: str = "torchscript"
) -> Counter[str]:
    """What the exported graph holds, raw, with these patches active."""
    import onnx

    from adaptrt.export.torch_onnx import export_onnx
    from adaptrt.patching import applied
    from adaptrt.plugins.facade import Contributed

    with applied(model, [Contributed(patch, "test") for patch in patches]):
        opset = 17 if exporter == "torchscript" else 18
        export_onnx(model, inputs_of(spec), spec, path, exporter=exporter, opset=opset)  # type: ignore[arg-type]
    return Counter(node.op_type for node in onnx.load(str(path)).graph.node)
