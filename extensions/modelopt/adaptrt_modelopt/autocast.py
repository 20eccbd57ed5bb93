"""One call of AutoCast, with real inputs to measure ranges on."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from adaptrt import Conversion, GraphError, ModelSpec, Precision
from adaptrt.graph import float32_nodes
from adaptrt_modelopt.settings import Settings

_LOW = {"float16": "fp16", "bfloat16": "bf16"}


def write_autocast(
    ctx: Conversion, onnx_path: Path, spec: ModelSpec, precision: Precision, settings: Settings
) -> Path | None:
    """The graph with AutoCast's types; inputs, outputs and box decoding stay float32.

    ``None`` if the graph already has these types, or AutoCast does not know them; core handles these cases.
    """
    if precision.onnx_type not in _LOW:
        ctx.notes.append(f"AutoCast does not know {precision.onnx_type}: adaptrt writes the types")
        return None
    low = onnx.TensorProto.DataType.Value(precision.onnx_type.upper())
    source = onnx.load(str(onnx_path), load_external_data=False)
    if any(weight.data_type == low for weight in source.graph.initializer):
        return None
    kept = float32_nodes(onnx_path, spec, ctx.keep_fp32)
    folder = ctx.workdir / "autocast"
    samples = write_samples(ctx, folder, settings.samples)
    try:
        from modelopt.onnx.autocast import convert_to_mixed_precision
        from modelopt.onnx.autocast.logging_config import configure_logging

        configure_logging("INFO" if ctx.request.verbose else "ERROR")
        model = convert_to_mixed_precision(
            onnx_path=str(onnx_path),
            low_precision_type=_LOW[precision.onnx_type],
            nodes_to_exclude=[*(f"^{re.escape(name)}$" for name in kept), *settings.nodes_to_exclude],
            op_types_to_exclude=list(settings.op_types_to_exclude),
            data_max=settings.data_max,
            init_max=settings.init_max,
            keep_io_types=True,
            calibration_data=str(folder) if samples else None,
            providers=["cpu"],
            max_depth_of_reduction=settings.max_depth_of_reduction or None,
        )
    except Exception as error:  # AutoCast raises what onnx, ONNX Runtime and its own asserts raise
        raise GraphError(
            f"AutoCast cannot convert this graph to {precision.name}: {type(error).__name__}: {error}",
            hint='To use adaptrt\'s own rules, disable it in plugins.toml: [plugins] disable = ["modelopt"]',
        ) from error
    del model.metadata_props[:]
    model.metadata_props.extend(source.metadata_props)  # the spec travels in there
    path = ctx.workdir / f"autocast.{precision.name}.onnx"
    onnx.save(model, str(path))
    casts = sum(node.op_type == "Cast" for node in model.graph.node)
    ctx.notes.append(
        f"{precision.name}: types chosen by AutoCast (nvidia-modelopt {version('nvidia-modelopt')}), ranges measured on "
        f"{samples or 'random'} inputs, {len(kept)} nodes excluded in advance; {casts} casts"
    )
    return path


def write_samples(ctx: Conversion, folder: Path, count: int) -> int:
    """Write one file for each of the first verification samples; returns their number."""
    folder.mkdir()
    samples = list(ctx.samples)[:count]
    for number, sample in enumerate(samples):
        np.savez(folder / f"{number:03}.npz", **{name: np.asarray(array) for name, array in sample.items()})
    return len(samples)
