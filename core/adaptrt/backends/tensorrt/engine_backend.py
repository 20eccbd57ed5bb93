"""What the backends of both products, TensorRT and TensorRT-RTX, have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from adaptrt.backends.tensorrt.availability import engine_unavailable_reason, issue_platform, machine_of
from adaptrt.backends.tensorrt.build.profiles import fit_profiles
from adaptrt.backends.tensorrt.generations import Product, generation_of, import_tensorrt, require_supported
from adaptrt.backends.tensorrt.manifest import find_manifest, manifest_path, matching_manifest
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.backends.tensorrt.records import built_of
from adaptrt.report import Report
from adaptrt.specs import BuildOptions, ModelSpec, Target
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.backends import BackendRequest, Built
from adaptrt.specs.build import BUILD_OPTIONS
from adaptrt.specs.descriptions import Description


class EngineBackend:
    """Engines of one ``product``, each with a manifest beside it."""

    product: Product
    suffixes: tuple[str, ...]
    devices = ("cuda",)
    build_options = BUILD_OPTIONS

    @property
    def name(self) -> str:
        return self.product.name

    @property
    def title(self) -> str:
        return self.product.title

    @property
    def requirement(self) -> str:
        return f"adaptrt[{self.product.extra}]"

    def unavailable(self, target: Target, device: int = 0) -> str | None:
        return engine_unavailable_reason(generation_of(target.name), device)

    def machine(self, target: Target, options: BuildOptions) -> Mapping[str, str]:
        return machine_of(generation_of(target.name), options.device)

    def issue_platform(self, target: Target, device: int = 0) -> dict[str, str]:
        return issue_platform(generation_of(target.name), device)

    def check_shapes(self, spec: ModelSpec, inputs: Mapping[str, tuple[int, ...]]) -> None:
        fit_profiles(spec, inputs)

    def check_runtime(self, *, builder: bool = False) -> None:
        import_tensorrt(self.product, builder=builder)

    def check_options(self, options: BuildOptions, target: Target) -> None:
        require_supported(options, "", target.name)

    def build(self, request: BackendRequest) -> Built:
        from adaptrt.backends.tensorrt.build.engine import build_artifact

        return build_artifact(request, self.suffixes[0])

    def built_of(self, path: Path) -> Built:
        return built_of(path, self.suffixes[0])

    def complete_manifest(self, path: Path, onnx: str, float32: str, report: Report) -> None:
        manifest = find_manifest(path)
        if manifest is None:
            return
        manifest.onnx = onnx
        manifest.rebuild = rebuild_command(
            float32, manifest.spec, manifest.precision, manifest.keep_fp32, manifest.options, self.product
        )
        manifest.adapter, manifest.source, manifest.command = report.adapter, report.source, report.command
        manifest.plugins = dict(report.plugins)
        manifest.patches, manifest.passes = list(report.patches), list(report.passes)
        manifest.checks = list(report.links)
        manifest_path(path).write_text(manifest.to_json(), encoding="utf-8")

    def files_beside(self, path: Path) -> list[Path]:
        """The manifest, if there is one and it describes this plan."""
        return [] if matching_manifest(path) is None else [manifest_path(path)]

    def read_spec(self, path: Path) -> ModelSpec | None:
        manifest = matching_manifest(path)
        return manifest.spec if manifest else None

    def origin_of(self, path: Path) -> BuildOrigin | None:
        manifest = matching_manifest(path)
        if manifest is None:
            return None
        return BuildOrigin(
            onnx=manifest.onnx,
            precision=manifest.precision,
            options=manifest.options,
            keep_fp32=tuple(manifest.keep_fp32),
            onnx_sha256=manifest.onnx_sha256,
        )

    def layers_of(self, path: Path) -> list[tuple[str, str]] | None:
        manifest = matching_manifest(path)
        return None if manifest is None else [(one.name, one.precision) for one in manifest.precision_report.table]

    def describe(self, path: Path) -> Description:
        from adaptrt.backends.tensorrt.description import describe

        return describe(path)
