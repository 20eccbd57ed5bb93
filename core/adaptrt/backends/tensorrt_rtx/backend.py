"""TensorRT-RTX backend: builds on a machine without a GPU, with the parser and builder of TensorRT 11."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from adaptrt.backends.tensorrt.availability import engine_unavailable_reason, issue_platform, machine_of, no_gpu_reason
from adaptrt.backends.tensorrt.build.profiles import fit_profiles
from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.generations import RTX, generation_of, generations_of, import_tensorrt, require_supported
from adaptrt.backends.tensorrt.manifest import capability_problem, find_manifest, matching_manifest
from adaptrt.backends.tensorrt.records import built_of, complete_manifest, layers_of, manifests_of, origin_of
from adaptrt.errors import DependencyError
from adaptrt.report import Report
from adaptrt.specs import BuildOptions, ModelSpec, Precision, Target
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.backends import Backend, BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.build import BUILD_OPTIONS
from adaptrt.specs.descriptions import Description
from adaptrt.specs.runners import FileRunner

_ELSEWHERE = "Copy it and its manifest to a machine with a supported GPU."
_CASTS = ("float16", "bfloat16")


class TensorRTRTX:
    """Engines run on the compute capabilities in their manifest: by default 8.0 and later except 9.0, and 7.5 on request."""

    name = "rtx"
    title = "TensorRT-RTX"
    suffixes: tuple[str, ...] = (".rtx.engine",)
    devices = ("cuda",)
    build_options = BUILD_OPTIONS
    purpose = "Build for GeForce RTX"
    requirement = "adaptrt[rtx]"

    @property
    def targets(self) -> Mapping[str, Target]:
        return generations_of(RTX)

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        if sys.platform != "linux" or platform.machine() != "x86_64":
            return f"{RTX.title} requires {RTX.needs}"
        return engine_unavailable_reason(generation_of(target.name), device)

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

    def machine(self, target: Target, options: BuildOptions) -> Mapping[str, str]:
        return machine_of(generation_of(target.name), options.device)

    def issue_platform(self, target: Target, device: int = 0) -> dict[str, str]:
        return issue_platform(generation_of(target.name), device)

    def check_shapes(self, spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        fit_profiles(spec, inputs)

    def check_runtime(self, *, builder: bool = False) -> None:
        import_tensorrt(RTX, builder=builder)

    def check_options(self, options: BuildOptions, target: Target) -> None:
        require_supported(options, "", target.name)

    def build(self, request: BackendRequest) -> Built:
        from adaptrt.backends.tensorrt.build.engine import build_artifact

        return build_artifact(request, self.suffixes[0])

    def built_of(self, path: Path) -> Built:
        return built_of(path, self.suffixes[0])

    def complete_manifest(self, path: Path, onnx: str, float32: str, report: Report) -> None:
        complete_manifest(path, onnx, float32, report)

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

    def read_spec(self, path: Path) -> ModelSpec | None:
        manifest = matching_manifest(path)
        return manifest.spec if manifest else None

    def files_beside(self, path: Path) -> list[Path]:
        return manifests_of(path)

    def origin_of(self, path: Path) -> BuildOrigin | None:
        return origin_of(path)

    def layers_of(self, path: Path) -> list[tuple[str, str]] | None:
        return layers_of(path)

    def describe(self, path: Path) -> Description:
        from adaptrt.backends.tensorrt.description import describe

        return describe(path)


BACKEND: Backend = TensorRTRTX()
