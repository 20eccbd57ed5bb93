"""The tables of docs/explanation/detr-patches.md; `make docs` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.results import markdown, read, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "detr-patches.md"


def graph() -> list[str]:
    kept = read("detr_graph")
    plain = kept["unpatched torchscript"]
    rows = [["unpatched", "TorchScript", plain["nodes"], _counts(plain["shape arithmetic"]), "", ""]]
    for one in kept["cases"].values():
        height, width = one["size"]
        rows.append(
            [
                f"{height} x {width}",
                {"torchscript": "TorchScript"}.get(one["exporter"], one["exporter"]),
                one["nodes"],
                _counts(one["shape arithmetic"]) or "none",
                f"{max(one['scores'].values()):.1e}",
                f"{max(one['boxes, parts of a side'].values()):.1e}",
            ]
        )
    return markdown(["DETR-R50", "exporter", "nodes", "shape arithmetic", "scores", "boxes"], rows)


def pipelines() -> list[str]:
    scores: dict[str, dict[str, float]] = read("detr_map")["scores"]
    names = list(next(iter(scores.values())))
    rows = [[title, *(f"{100 * one[name]:.1f}" for name in names)] for title, one in scores.items()]
    return markdown(["pipeline", *names], rows)


def family() -> list[str]:
    rows = []
    for name, entry in read("detr_family")["models"].items():
        cells = [_verdict(entry.get(exporter)) for exporter in ("torchscript", "dynamo")]
        rows.append([name, f"`{entry['adapter']}`", *cells])
    return markdown(["model", "adapter", "TorchScript", "dynamo"], rows)


def _verdict(one: dict[str, Any] | None) -> str:
    if one is None:
        return "not tried"
    if one["passed"]:
        link = one["link 2"]
        left_out = re.search(r"(\d+ samples?) (?:skipped|left out)", one.get("compared", ""))
        said = f", {left_out[1]} excluded" if left_out else ""
        return f"pass, {one['nodes']} nodes, {link.get('scores', link.get('logits')):.0e}{said}"
    reason = str(one.get("failed", "")).split("\n")[0].replace("|", "/")
    if "TorchScript exporter" in reason:
        return "rejected: requires the TorchScript exporter"
    if one.get("stage") == "spec":
        return f"rejected: {reason.partition(':')[0]}"
    return f"fail: {re.sub(chr(27) + r'[^m]*m', '', reason)[:160]}"


KEPT = {"": "", "_norm32": "LayerNormalization", "_soft32": "Softmax", "_norm_soft32": "both"}


def engines() -> list[str]:
    found = read("gpu_detr")
    rows = []
    for model, title in (("r50", "DETR-R50"), ("shapes", "the fixture")):
        for precision, kept in [("fp32", ""), *((f"fp16{suffix}", kept) for suffix, kept in KEPT.items())]:
            one = found[f"accuracy_{model}_{precision}"]
            rows.append([title, precision[:4], kept, *_apart(one["against eager"]), *_mean(found, model, precision)])
        one = found[f"accuracy_{model}_fp16"]
        rows.append([f"{title} in torch", "autocast", "", *_apart(one["eager half precision against eager"]), "", ""])
    mean = found["map"]["eager"]
    rows.append(["the fixture in torch", "fp32", "", "", "", f"{100 * mean['mAP']:.2f}", f"{100 * mean['mAP50']:.2f}"])
    return markdown(["engine", "precision", "also in float32", "scores", "boxes", "mAP", "mAP50"], rows)


def _apart(one: dict[str, Any]) -> list[str]:
    return [f"{one['scores']:.1e}", f"{one['boxes of sure queries']:.1e}"]


def _mean(found: dict[str, Any], model: str, precision: str) -> list[str]:
    scores = found["map"].get(f"{model}_{precision}")
    return [f"{100 * scores[name]:.2f}" for name in ("mAP", "mAP50")] if scores else ["", ""]


def latency() -> list[str]:
    found = read("gpu_detr")
    alone, beside = found["latency"], found["latency_torch"]
    batches = [name for name in beside if name.startswith("r50 batch")]
    rows = [["engine, without torch", *(f"{alone[batch]['p50'] / 1000:.2f}" for batch in batches)]]
    for name in beside[batches[0]]:
        if name == "engine" or name.endswith("fp16"):
            rows.append([name, *(f"{beside[batch][name]['p50'] / 1000:.2f}" for batch in batches)])
    rows.append(["times eager", *(f"{beside[batch]['times eager']:.2f}" for batch in batches)])
    return markdown(["DETR-R50, 800 x 1216, ms", *(name.removeprefix("r50 ") for name in batches)], rows)


def _counts(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items() if count)


TABLES: dict[str, Callable[[], list[str]]] = {
    "graph": graph,
    "pipelines": pipelines,
    "family": family,
    "engines": engines,
    "latency": latency,
}


def page() -> str:
    """The page with its tables as the results have them."""
    return with_tables(PAGE, TABLES)
