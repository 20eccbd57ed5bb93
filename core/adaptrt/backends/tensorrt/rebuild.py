"""The command that rebuilds an engine."""

from __future__ import annotations

import shlex
from dataclasses import replace

from adaptrt.backends.tensorrt.generations import TENSORRT, Product
from adaptrt.specs import BuildOptions, ModelSpec, format_shape
from adaptrt.specs.precisions import FP32


def rebuild_command(
    onnx: str,
    spec: ModelSpec,
    precision: str,
    keep_fp32: tuple[str, ...],
    options: BuildOptions,
    product: Product = TENSORRT,
) -> str:
    """The ``adaptrt build ...`` command that builds the same engine from the same ONNX file."""
    parts = ["adaptrt", "build", onnx]
    if product is not TENSORRT:
        parts += ["--to", product.name]
    for tensor in spec.inputs:
        for shape in tensor.profiles:
            plain = tuple(replace(dim, name=None) for dim in shape)
            parts += ["--shape", f"{tensor.name}={format_shape(plain)}"]
    if precision != FP32.name:
        parts += ["--precision", precision]
    for pattern in keep_fp32:
        parts += ["--keep-fp32", pattern]
    if options.workspace is not None:
        parts += ["--workspace", f"{max(1, options.workspace >> 20)}M"]
    if options.optimization_level is not None:
        parts += ["--opt-level", str(options.optimization_level)]
    if options.tf32 is not None:
        parts.append("--tf32" if options.tf32 else "--no-tf32")
    if options.version_compatible:
        parts.append("--version-compatible")
    if options.hardware_compatible != "none":
        parts += ["--hardware-compatible", options.hardware_compatible]
    if options.strip_weights:
        parts.append("--strip-weights")
    if options.refittable:
        parts.append("--refittable")
    for library in options.plugin_libs:
        parts += ["--plugin-lib", library]
    if options.tactic_sources is not None:
        parts += ["--tactic-sources", ",".join(options.tactic_sources)]
    if options.compute_capabilities:
        parts += ["--compute-capability", ",".join(options.compute_capabilities)]
    return shlex.join(parts)
