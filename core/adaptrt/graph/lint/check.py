"""Groups rule violations into findings with counts and source locations."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common

from adaptrt.graph.lint.hits import Hit
from adaptrt.graph.lint.rules import HALF_PIXELS, RULES, Graph, hits
from adaptrt.graph.lint.source_locations import source_location_of
from adaptrt.graph.model_file import graph_of, outline_nodes
from adaptrt.onnxfile.files import OnnxFiles
from adaptrt.onnxfile.node_rules import decoding_nodes, pixel_outputs
from adaptrt.report import Finding, SourceLocation
from adaptrt.specs import ModelSpec
from adaptrt.specs.targets import Target

_PLACES = 5
_SEVERITIES = ("error", "warning", "info")
_ORDER = {name: position for position, name in enumerate(RULES)}


def check_graph(model: ir.Model, spec: ModelSpec | None, target: Target) -> list[Finding]:
    """Findings for this TensorRT generation, most severe first; the graph is not modified."""
    looked_at = model.clone()
    failure = _infer_shapes(looked_at)
    graph = Graph(looked_at, spec, target, _decoding(looked_at, spec))
    groups: dict[tuple[str, str, str], list[Hit]] = {}
    for hit in [*([Hit("shapes", "graph", detail=failure)] if failure else []), *hits(graph)]:
        groups.setdefault((hit.rule, hit.operator, hit.detail), []).append(hit)
    findings = [_finding(found) for found in groups.values()]
    return sorted(
        findings, key=lambda finding: (_SEVERITIES.index(finding.severity), _ORDER[finding.rule], -finding.count)
    )


def _infer_shapes(model: ir.Model) -> str:
    """Add the shapes that can be inferred; why that failed, which onnx_ir only logs, or nothing."""
    failures: list[str] = []

    def remember(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            failures.append(str(error).strip().partition("\n")[0][:200] or type(error).__name__)
        return False

    logger = logging.getLogger(common.ShapeInferencePass.__module__)
    logger.addFilter(remember)
    try:
        common.ShapeInferencePass()(model)
    finally:
        logger.removeFilter(remember)
    return failures[0] if failures else ""


def check_reduced(path: Path, spec: ModelSpec, targets: Sequence[Target], files: OnnxFiles) -> list[Finding]:
    """Findings that only the reduced-precision graph can have: pixel coordinates in half precision."""
    if not pixel_outputs(spec):
        return []
    graph = graph_of(path, files)
    found = [finding for target in targets for finding in check_graph(graph, spec, target)]
    return [finding for finding in found if finding.rule == HALF_PIXELS]


def _finding(found: list[Hit]) -> Finding:
    hit, rule = found[0], RULES[found[0].rule]
    locations = Counter(
        (location.file, location.line, location.code)
        for one in found
        if one.node is not None and (location := source_location_of(one.node))
    )
    return Finding(
        rule=hit.rule,
        severity=hit.severity or rule.severity,
        operator=hit.operator,
        count=len(found),
        message=f"{rule.message}: {hit.detail}" if hit.detail else rule.message,
        advice=rule.advice,
        places=[SourceLocation(*location, count) for location, count in locations.most_common(_PLACES)],
    )


def _decoding(model: ir.Model, spec: ModelSpec | None) -> frozenset[str]:
    """The names of the nodes that compute pixel coordinates."""
    outputs = pixel_outputs(spec)
    if not outputs:
        return frozenset()
    outline = outline_nodes(model.graph)
    weights = {
        name: int(value.const_value.size)
        for name, value in model.graph.initializers.items()
        if value.const_value is not None
    }
    return frozenset(decoding_nodes(outline, outputs, weights))
