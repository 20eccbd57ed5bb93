"""TensorRT 8.6, 10 and 11 as a backend: engines that are plain plans, with a manifest beside each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaptrt.backends.tensorrt.availability import engine_unavailable_reason, issue_platform, machine_of
from adaptrt.backends.tensorrt.build.profiles import fit_profiles
from adaptrt.backends.tensorrt.generations import (
    TENSORRT,
    default_target,
    generation_of,
    generations_of,
    import_tensorrt,
    require_supported,
)
from adaptrt.backends.tensorrt.manifest import matching_manifest
from adaptrt.backends.tensorrt.records import built_of, complete_manifest, layers_of, manifests_of, origin_of
from adaptrt.report import Report
from adaptrt.specs import BuildOptions, ModelSpec, Precision, Target
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.backends import Backend, BackendRequest, Built, Expression, OpenOptions
from adaptrt.specs.build import BUILD_OPTIONS
from adaptrt.specs.descriptions import Description
from adaptrt.specs.runners import FileRunner


class TensorRT:
    """The installed generation is the default target."""

    name = "tensorrt"
    title = "TensorRT"
    suffixes = (".engine", ".plan", ".trt")
    by_default = True
    devices = ("cuda",)
    build_options = BUILD_OPTIONS
    purpose = "Build and run engines"
    requirement = "adaptrt[trt]"
    cuda_graphs = True

    @property
    def targets(self) -> Mapping[str, Target]:
        first = default_target()
        return {one.name: one for one in (first, *reversed(generations_of(TENSORRT).values()))}

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        return engine_unavailable_reason(generation_of(target.name), device)

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

    def machine(self, target: Target, options: BuildOptions) -> Mapping[str, str]:
        return machine_of(generation_of(target.name), options.device)

    def issue_platform(self, target: Target, device: int = 0) -> dict[str, str]:
        return issue_platform(generation_of(target.name), device)

    def check_shapes(self, spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        fit_profiles(spec, inputs)

    def check_runtime(self, *, builder: bool = False) -> None:
        import_tensorrt(builder=builder)

    def check_options(self, options: BuildOptions, target: Target) -> None:
        require_supported(options, "", target.name)

    def build(self, request: BackendRequest) -> Built:
        from adaptrt.backends.tensorrt.build.engine import build_artifact

        return build_artifact(request)

    def built_of(self, path: Path) -> Built:
        return built_of(path)

    def complete_manifest(self, path: Path, onnx: str, float32: str, report: Report) -> None:
        complete_manifest(path, onnx, float32, report)

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


BACKEND: Backend = TensorRT()
