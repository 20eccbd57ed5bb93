"""TensorRT-RTX backend: builds on a machine without a GPU, with the parser and builder of TensorRT 11."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from adaptrt.backends.tensorrt.availability import no_gpu_reason
from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.engine_backend import EngineBackend
from adaptrt.backends.tensorrt.generations import RTX, generation_of, generations_of, import_tensorrt
from adaptrt.backends.tensorrt.manifest import capability_problem, find_manifest
from adaptrt.errors import DependencyError
from adaptrt.specs import Precision, Target
from adaptrt.specs.backends import Backend, Expression, OpenOptions
from adaptrt.specs.runners import FileRunner

_ELSEWHERE = "Copy it and its manifest to a machine with a supported GPU."
_CASTS = ("float16", "bfloat16")


class TensorRTRTX(EngineBackend):
    """Engines run on the compute capabilities in their manifest: by default 8.0 and later except 9.0, and 7.5 on request."""

    product = RTX
    suffixes: tuple[str, ...] = (".rtx.engine",)
    purpose = "Build for GeForce RTX"

    @property
    def targets(self) -> Mapping[str, Target]:
        return generations_of(RTX)

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return f"{RTX.title} requires {RTX.needs}"
        return super().unavailable(target, device)

    def express(self, precision: Precision, target: Target) -> Expression:
        if precision.form == "none":
            return Expression()
        if precision.form == "cast" and precision.onnx_type not in _CASTS:
            return Expression(unsupported=f"{target.title} has not been tested with {precision.onnx_type}")
        if precision.form == "qdq" and precision.quantized_type not in generation_of(target.name).quantized_types:
            return Expression(
                unsupported=f"{target.title} has not been tested with Q/DQ nodes for {precision.quantized_type}"
            )
        return Expression(graph=True)

    def open(self, path: Path, options: OpenOptions) -> FileRunner:
        """Open the engine on a supported GPU. Not tested yet, for lack of such a GPU."""
        from adaptrt.backends.tensorrt.runtime import TensorRTRunner
        from adaptrt.backends.tensorrt.runtime.cuda import device_index

        import_tensorrt(RTX)
        device = device_index(options.device or 0)
        reason = no_gpu_reason(device)
        if reason is not None:
            raise DependencyError(f"{reason[0].upper()}{reason[1:]}.", hint=_ELSEWHERE)
        gpu, capability = identify_device(device)
        manifest = find_manifest(path)
        supported = manifest.compute_capabilities if manifest else generation_of("rtx").compute_capabilities
        problem = capability_problem(supported, capability)
        if problem is not None:
            raise DependencyError(f"{problem[0].upper()}{problem[1:]} ({gpu}).", hint=_ELSEWHERE)
        return TensorRTRunner(
            path,
            device=device,
            cuda_graphs=0,  # capture has not been tested
            allow_host_code=options.allow_host_code,
            plugin_libs=options.plugin_libs,
            product=RTX,
        )


BACKEND: Backend = TensorRTRTX()
