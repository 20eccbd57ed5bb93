"""TensorRT 8.6, 10 and 11 as a backend: engines that are plain plans, with a manifest beside each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaptrt.backends.tensorrt.engine_backend import EngineBackend
from adaptrt.backends.tensorrt.generations import (
    TENSORRT,
    default_target,
    generation_of,
    generations_of,
)
from adaptrt.specs import Precision, Target
from adaptrt.specs.backends import Backend, Expression, OpenOptions
from adaptrt.specs.runners import FileRunner


class TensorRT(EngineBackend):
    """The installed generation is the default target."""

    product = TENSORRT
    suffixes = (".engine", ".plan", ".trt")
    by_default = True
    purpose = "Build and run engines"
    cuda_graphs = True

    @property
    def targets(self) -> Mapping[str, Target]:
        first = default_target()
        return {one.name: one for one in (first, *reversed(generations_of(TENSORRT).values()))}

    def express(self, precision: Precision, target: Target) -> Expression:
        if precision.form == "none":
            return Expression()
        if precision.onnx_type == "bfloat16" and not target.bf16:
            return Expression(
                unsupported=f"{target.title} does not support precision {precision.name}, which requires TensorRT 10 or later"
            )
        generation = generation_of(target.name)
        if precision.form == "qdq" and precision.quantized_type not in generation.quantized_types:
            return Expression(unsupported=f"{target.title} has no Q/DQ nodes for {precision.quantized_type}")
        if precision.form == "qdq" or target.strongly_typed:
            return Expression(graph=True)
        if precision.onnx_type in generation.flag_types:
            return Expression()
        return Expression(unsupported=f"{target.title} has no builder flag for {precision.name}")

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        from adaptrt.backends.tensorrt.runtime import TensorRTRunner
        from adaptrt.backends.tensorrt.runtime.runner import KEPT_GRAPHS

        return TensorRTRunner(
            path,
            device=options.device or 0,
            allow_host_code=options.allow_host_code,
            plugin_libs=options.plugin_libs,
            cuda_graphs=KEPT_GRAPHS if options.cuda_graphs else 0,
            images="cpu" if options.cpu_images else "gpu",
            gpu_jpeg=options.gpu_jpeg,
        )


BACKEND: Backend = TensorRT()
