"""The engine cache, keyed by ONNX content with weights, options, TensorRT version and GPU."""

from __future__ import annotations

from pathlib import Path

from adaptrt.backends.tensorrt.device import identify_device
from adaptrt.backends.tensorrt.generations import capabilities_of, generation_of, installed_version
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path
from adaptrt.errors import AdaptrtError, EngineError
from adaptrt.specs.backends import BackendRequest
from adaptrt.store.cache import Store, key_of
from adaptrt.store.cache_entry import Entry
from adaptrt.store.source_files import SourceFiles
from adaptrt.version import __version__

KIND = "engine"
ENGINE, MANIFEST = ".engine", ".engine.json"


def engine_key(request: BackendRequest, onnx_sha256: str, sources: SourceFiles | None = None) -> str | None:
    """The cache key of an engine; ``None`` if the GPU or the TensorRT version cannot be determined."""
    options, product = request.options, generation_of(request.target.name).product
    version = installed_version(product)
    if version is None:
        return None
    sources = sources or SourceFiles()
    try:
        gpu = capabilities_of(options, generation_of(version, product)) or identify_device(options.device)
        libraries = [sources.content(Path(library)) for library in options.plugin_libs]
    except (AdaptrtError, OSError):
        return None  # the build itself will report the error
    return key_of(
        {
            "kind": KIND,
            "adaptrt": __version__,
            "onnx": onnx_sha256,
            "spec": request.spec,
            "precision": request.precision.name,
            "keep_fp32": request.keep_fp32,
            "options": options,
            "libraries": libraries,
            "product": product.name,
            "tensorrt": version,
            "gpu": gpu,
        }
    )


def engine_from_cache(key: str, plan: Path, store: Store | None = None) -> Manifest | None:
    """Copy an engine and its manifest from the cache; ``None`` if missing, damaged, or inconsistent."""
    store = store or Store()
    entry = store.find(key)
    if entry is None:
        return None
    manifest = _copied(store, entry, plan)
    if manifest is None:
        store.forget(key)
        plan.unlink(missing_ok=True)
        manifest_path(plan).unlink(missing_ok=True)
    return manifest


def _copied(store: Store, entry: Entry, plan: Path) -> Manifest | None:
    if entry.kind != KIND or set(entry.files) != {ENGINE, MANIFEST}:
        return None
    if not store.copy(entry, ENGINE, plan) or not store.copy(entry, MANIFEST, manifest_path(plan)):
        return None
    try:
        manifest = Manifest.from_json(manifest_path(plan).read_bytes())
    except EngineError:
        return None
    return manifest if manifest.plan_sha256 == entry.files[ENGINE] else None


def keep_engine(key: str, plan: Path, manifest: Manifest, store: Store | None = None) -> None:
    """Add an engine and its manifest to the cache."""
    title = f"{manifest.onnx} {manifest.precision}, {manifest.builder}, {manifest.gpu or manifest.made_for}"
    (store or Store()).put(key, KIND, title, {ENGINE: plan, MANIFEST: manifest_path(plan)})
