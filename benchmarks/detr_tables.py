"""The tables of docs/explanation/detr-patches.md; `make docs` writes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import markdown, read, with_tables

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "detr-patches.md"


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


def roads() -> list[str]:
    scores: dict[str, dict[str, float]] = read("detr_map")["scores"]
    names = list(next(iter(scores.values())))
    rows = [[road, *(f"{100 * one[name]:.1f}" for name in names)] for road, one in scores.items()]
    return markdown(["road", *names], rows)


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
        left_out = re.search(r"\d+ samples? left out", one.get("compared", ""))
        said = f", {left_out[0]}" if left_out else ""
        return f"pass, {one['nodes']} nodes, {link.get('scores', link.get('logits')):.0e}{said}"
    reason = str(one.get("failed", "")).split("\n")[0].replace("|", "/")
    if one.get("stage") == "spec":
        return f"refused: {reason.partition(':')[0]}"
    return f"fail: {re.sub(chr(27) + r'[^m]*m', '', reason)[:160]}"


def _counts(operators: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in operators.items() if count)


TABLES: dict[str, Callable[[], list[str]]] = {"graph": graph, "roads": roads, "family": family}


def page() -> str:
    """The page with its tables as the results have them."""
    return with_tables(PAGE, TABLES)
