"""The engine's entry in a report, and the conversion's entry in an engine's manifest."""

from __future__ import annotations

from pathlib import Path

from adaptrt.backends.tensorrt.generations import product_named
from adaptrt.backends.tensorrt.manifest import Manifest, find_manifest, manifest_path
from adaptrt.backends.tensorrt.rebuild import rebuild_command
from adaptrt.report import EngineRecord, Report
from adaptrt.specs.backends import Built


def built_of(plan: Path, suffix: str = ".engine") -> Built:
    """An engine with its manifest, if it has one; ``suffix`` is the file suffix of these engines."""
    manifest = find_manifest(plan)
    if manifest is None:  # a plugin built it
        return Built(files={suffix: plan})
    return Built(
        files={suffix: plan, f"{suffix}.json": manifest_path(plan)},
        record=engine_record(manifest),
        summary=manifest.precision_report.summary,
    )


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
