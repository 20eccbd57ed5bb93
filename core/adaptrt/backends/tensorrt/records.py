"""The engine's entry in a report, and the conversion's entry in an engine's manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.backends.tensorrt.generations import product_named
from adaptrt.backends.tensorrt.manifest import Manifest, find_manifest, manifest_path, matching_manifest
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.quantities import duration, file_size
from adaptrt.report import Report
from adaptrt.specs.backend_parts import BuildOrigin
from adaptrt.specs.backends import Built


@dataclass
class EngineRecord:
    """The engine that was built, and its precision report: visible layers and their weight bytes by type, the share of
    weights in parts that TensorRT does not show, the plan's size against the float32 weights. ``tensorrt`` is the version of ``product``; ``gpu`` what
    it was built for."""

    tensorrt: str
    gpu: str
    capability: str
    precision: str
    layers: dict[str, int] = field(default_factory=dict)
    weight_bytes: dict[str, int] = field(default_factory=dict)
    opaque: int = 0
    opaque_share: float = 0.0
    plan_bytes: int = 0
    plan_share: float = 0.0
    evidence: str = ""
    note: str = ""
    build_seconds: float = 0.0
    device_memory: int = 0
    messages: list[str] = field(default_factory=list)
    product: str = "TensorRT"


def built_of(plan: Path, suffix: str = ".engine") -> Built:
    """An engine with its manifest, if it has one; ``suffix`` is the file suffix of these engines."""
    manifest = matching_manifest(plan)
    if manifest is None:  # a plugin built it
        return Built(files={suffix: plan})
    return Built(
        files={suffix: plan, f"{suffix}.json": manifest_path(plan)},
        record=engine_record(manifest),
        summary=manifest.precision_report.summary,
        facts=_facts(manifest),
        layers=manifest.precision_report.layers,
        messages=[str(note) for note in manifest.messages],
    )


def origin_of(plan: Path) -> BuildOrigin | None:
    """What the manifest says about the build."""
    manifest = matching_manifest(plan)
    if manifest is None:
        return None
    return BuildOrigin(
        onnx=manifest.onnx,
        precision=manifest.precision,
        options=manifest.options,
        keep_fp32=tuple(manifest.keep_fp32),
        onnx_sha256=manifest.onnx_sha256,
    )


def layers_of(plan: Path) -> list[tuple[str, str]] | None:
    """The layers of the precision report."""
    manifest = matching_manifest(plan)
    return None if manifest is None else [(one.name, one.precision) for one in manifest.precision_report.table]


def _facts(manifest: Manifest) -> dict[str, str]:
    found = manifest.precision_report
    gpu = manifest.gpu or manifest.made_for
    weights = ", ".join(f"{kind} {file_size(size)}" for kind, size in found.weight_bytes.items())
    share = f", {found.plan_share:.0%} of the float32 weights" if found.plan_share else ""
    hidden = f"{len(found.opaque)} parts with {found.opaque_share:.0%} of the weights" if found.opaque else ""
    facts = {
        product_named(manifest.product).title: manifest.tensorrt,
        "GPU": f"{gpu} (compute capability {manifest.capability})" if manifest.capability else gpu,
        "plan": f"{file_size(found.plan_bytes)}{share}",
        "device memory": file_size(manifest.device_memory) if manifest.device_memory else "",
        "build": duration(manifest.build_seconds),
        "evidence": found.evidence,
        "weights": weights,
        "not shown by TensorRT": hidden,
        "note": found.note,
    }
    return {title: text for title, text in facts.items() if text}


def manifests_of(plan: Path) -> list[Path]:
    """The manifest beside a plan, if there is one and it describes this plan."""
    return [] if matching_manifest(plan) is None else [manifest_path(plan)]


def complete_manifest(plan: Path, onnx: str, float32: str, report: Report) -> None:
    """Add the facts known only to the conversion to the manifest beside a plan, if there is one.

    ``onnx`` is the final name of the file that the engine was built from, ``float32`` that of the float32 graph.
    """
    manifest = find_manifest(plan)
    if manifest is None:
        return
    manifest.onnx = onnx
    manifest.rebuild = rebuild_command(
        float32,
        manifest.spec,
        manifest.precision,
        manifest.keep_fp32,
        manifest.options,
        product_named(manifest.product),
    )
    manifest.adapter, manifest.source, manifest.command = report.adapter, report.source, report.command
    manifest.plugins = dict(report.plugins)
    manifest.patches, manifest.passes = list(report.patches), list(report.passes)
    manifest.checks = list(report.links)
    manifest_path(plan).write_text(manifest.to_json(), encoding="utf-8")


def engine_record(manifest: Manifest) -> EngineRecord:
    precision_report = manifest.precision_report
    return EngineRecord(
        tensorrt=manifest.tensorrt,
        product=product_named(manifest.product).title,
        gpu=manifest.gpu or manifest.made_for,
        capability=manifest.capability,
        precision=manifest.precision,
        layers=precision_report.layers,
        weight_bytes=precision_report.weight_bytes,
        opaque=len(precision_report.opaque),
        opaque_share=precision_report.opaque_share,
        plan_bytes=precision_report.plan_bytes,
        plan_share=precision_report.plan_share,
        evidence=precision_report.evidence,
        note=precision_report.note,
        build_seconds=manifest.build_seconds,
        device_memory=manifest.device_memory,
        messages=[str(note) for note in manifest.messages],
    )
