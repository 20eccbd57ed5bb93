"""Describes a TensorRT engine from its manifest, and with TensorRT if installed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from adaptrt.backends.tensorrt.availability import NO_GPU, no_gpu
from adaptrt.backends.tensorrt.build.profiles import profiles_of
from adaptrt.backends.tensorrt.device import describe_device
from adaptrt.backends.tensorrt.generations import import_tensorrt, product_named
from adaptrt.backends.tensorrt.header import read_header
from adaptrt.backends.tensorrt.manifest import (
    Manifest,
    RuntimeEnvironment,
    check_manifest,
    check_plan,
    find_manifest,
    rebuild_line,
)
from adaptrt.errors import AdaptrtError, EngineError, in_shell, printable
from adaptrt.quantities import duration, file_size
from adaptrt.specs.descriptions import Description, Node, Tensor

if TYPE_CHECKING:
    from adaptrt.specs.runners import TensorInfo


def describe(path: Path) -> Description:
    """The facts in the manifest; for a plan without one, what TensorRT reports if installed."""
    if path.stat().st_size == 0:
        raise EngineError(f"{path.name} is empty.", hint="Copy it again, or build it again.")
    header, _ = read_header(path)
    description = Description(path=str(path), kind="TensorRT engine", bytes=path.stat().st_size)
    if header is not None:
        description.kind = "TensorRT engine with Ultralytics' header"
        description.metadata = {key: str(value) for key, value in header.items()}
        description.warnings.append(f"Other TensorRT tools cannot read it: adaptrt engine unwrap {in_shell(path)}")
        return description
    manifest = find_manifest(path)
    if manifest is None:
        return _foreign(path, description)
    description.kind = f"{product_named(manifest.product).title} engine"
    try:
        check_plan(manifest, path)
        verdict = runs_here(manifest, path)
    except EngineError as error:
        verdict = f"no: {error.message}"
        description.warnings.append(f"{error.message} {error.hint or ''}".strip())
    description.spec = manifest.spec
    description.facts = {"runs here": verdict, **_facts(manifest)}
    description.inputs = [
        Tensor(tensor.name, tensor.dtype, tuple(map(str, tensor.dims))) for tensor in manifest.spec.inputs
    ]
    description.outputs = [Tensor(tensor.name, tensor.dtype, tensor.dims) for tensor in manifest.spec.outputs]
    description.tables = _tables(manifest)
    description.metadata = dict(manifest.spec.metadata)
    description.nodes = [
        Node(layer.name, f"{layer.kind or '?'} {layer.precision}".strip(), (), ())
        for layer in manifest.precision_report.table
    ]
    return description


def _facts(manifest: Manifest) -> dict[str, str]:
    precision_report, options = manifest.precision_report, manifest.options
    built, made_for = manifest.builder, manifest.made_for
    if manifest.gpu:
        built += f", CUDA {manifest.cuda}, driver {manifest.driver or 'unknown'}"
        made_for = f"{manifest.gpu}, sm_{manifest.capability.replace('.', '')}"
    compatible = [
        name
        for name, there in (
            ("version-compatible", options.version_compatible),
            (f"hardware-compatible {options.hardware_compatible}", options.hardware_compatible != "none"),
            ("refittable", options.refittable),
            ("without weights", options.strip_weights),
        )
        if there
    ]
    facts = {
        "built with": built,
        "built for": made_for,
        "built": f"{manifest.created} in {duration(manifest.build_seconds)}, from {manifest.onnx}",
        "precision": manifest.precision,
        "precision report": "; ".join(
            filter(None, [precision_report.summary, precision_report.evidence, precision_report.note])
        ),
        "memory": f"{file_size(manifest.device_memory)} for each context, on the GPU",
    }
    if compatible:
        facts["options"] = ", ".join(compatible)
    if manifest.keep_fp32:
        facts["float32 kept"] = ", ".join(manifest.keep_fp32)
    if manifest.plugin_libs:
        facts["plugins"] = ", ".join(library.path for library in manifest.plugin_libs)
    if manifest.source:
        facts["model"] = f"{manifest.source} with adapter {manifest.adapter}" if manifest.adapter else manifest.source
    facts["command"] = manifest.command or "unknown"
    facts["rebuild"] = rebuild_line(manifest)
    return facts


def runs_here(manifest: Manifest, path: Path) -> str:
    """``yes``, or why not; ``unknown`` if TensorRT is missing."""
    try:
        tensorrt = import_tensorrt(product_named(manifest.product))
        device = describe_device(0)
    except AdaptrtError as error:
        return f"no: {NO_GPU[0].upper()}{NO_GPU[1:]}." if no_gpu(error) else f"unknown: {error.message}"
    libraries = [library.path for library in manifest.plugin_libs]
    here = RuntimeEnvironment(tensorrt.version, device.capability, device.name, tensorrt.flavor, manifest.product)
    try:
        warnings = check_manifest(manifest, path, here, allow_host_code=True, plugin_libs=libraries)
    except EngineError as error:
        return f"no: {error.message}"
    needs = ["requires --allow-host-code"] if manifest.host_code else []
    needs += [f"requires --plugin-lib {shlex.quote(printable(library))}" for library in libraries]
    return "; ".join(["yes", *needs, *warnings])


def _tables(manifest: Manifest) -> dict[str, list[list[str]]]:
    profiles = [["profile", "input", "min", "opt", "max"]]
    for profile in profiles_of(manifest.spec.inputs):
        for name in profile.shapes:
            sizes = ("x".join(map(str, size)) for size in profile.sizes(name))
            profiles.append([str(profile.index), name, *sizes])
    precision_report = manifest.precision_report
    layers = [["precision", "layers", "weights"]]
    layers += [
        [
            kind,
            str(count),
            file_size(precision_report.weight_bytes[kind]) if kind in precision_report.weight_bytes else "",
        ]
        for kind, count in precision_report.layers.items()
    ]
    if precision_report.opaque:
        layers.append(["opaque", str(len(precision_report.opaque)), f"{precision_report.opaque_share:.0%} of all"])
    layers.append(["other", str(precision_report.other_layers), ""])
    tables = {"Profiles": profiles, "Layers": layers}
    checks = [["link", "status", "worst"]]
    for link in manifest.checks:
        if link.checks:
            worst = max(link.checks, key=lambda check: check.value / check.limit if check.limit else 0.0)
            checks.append([f"{link.number} {link.name}", link.status, f"{worst.name} {worst.value:.3g}"])
    if len(checks) > 1:
        tables["Checks"] = checks
    return tables


def _foreign(path: Path, description: Description) -> Description:
    description.warnings.append(
        f"No manifest ({path.name}.json) found next to it: another tool built it, or the manifest was not copied."
    )
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    try:
        runner = TensorRTRunner(path, contexts=1, cuda_graphs=0)
    except AdaptrtError as error:
        description.facts["runs here"] = f"unknown: {error.message}"
        return description
    with runner:
        description.facts["runs here"] = "yes"
        description.inputs = [_tensor(info) for info in runner.inputs]
        description.outputs = [_tensor(info) for info in runner.outputs]
        description.warnings += runner.warnings
    return description


def _tensor(info: TensorInfo) -> Tensor:
    return Tensor(info.name, info.dtype, tuple("?" if size is None else size for size in info.shape))
