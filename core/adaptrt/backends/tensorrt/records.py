"""The engine's entry in a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from adaptrt.backends.tensorrt.generations import product_named
from adaptrt.backends.tensorrt.manifest import Manifest, manifest_path, matching_manifest
from adaptrt.quantities import duration, file_size
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


def built_of(plan: Path, suffix: str) -> Built:
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
