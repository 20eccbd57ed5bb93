"""Builds an engine as the TensorRT backend does, without a conversion around it."""

from __future__ import annotations

from pathlib import Path

from adaptrt.backends.tensorrt.build.engine import BuildWatcher, build_engine
from adaptrt.backends.tensorrt.generations import default_target
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
from adaptrt.specs import BuildOptions, ModelSpec, precision_named
from adaptrt.specs.backends import BackendRequest
from adaptrt.store.workspace import workspace


def build_engine_file(
    onnx_path: Path | str,
    engine: Path | str,
    spec: ModelSpec,
    *,
    precision: str = "fp32",
    options: BuildOptions | None = None,
    timing_folder: Path | None = None,
    watcher: BuildWatcher | None = None,
) -> Manifest:
    """Plan and manifest, built in a work folder beside their names."""
    engine = Path(engine)
    with workspace(engine.parent, engine.stem) as workdir:
        request = BackendRequest(
            onnx_path=Path(onnx_path),
            output=workdir / "plan",
            spec=spec,
            precision=precision_named(precision),
            target=default_target(),
            options=options or BuildOptions(),
            cache=False,
        )
        manifest, _ = build_engine(request, timing_folder=timing_folder, watcher=watcher)
        request.output.replace(engine)
        manifest_path(request.output).replace(manifest_path(engine))
    return manifest
