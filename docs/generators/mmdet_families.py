"""The page on the families of mmdet: a row for each folder of configurations in its wheel."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.common.results import markdown, read
from benchmarks.detectors.family_table import place_of, verdict
from sections import machine

MEANING = {
    "compared": "converted, and the file finds what mmdet's own predict finds on an image (links 0, 2 and 5): this configuration, or the named one of the folder",
    "converted": "the graph equals the network in ONNX Runtime (link 2), with random weights at a small size",
    "same parts": "accepted; every class of layer occurs in the converted networks of the folders that are named",
    "accepted": "accepted; the listed layers occur in no converted network, so the folder was only built",
    "fails": "accepted, but the conversion fails",
    "refused": "rejected before the export; the reason is the error message",
    "error": "the adapter fails where it should reject",
    "no model": "the folder defines no network",
}


def families_page() -> str:
    """Every folder with its configuration, adapter and verdict."""
    kept = read("mmdet_families")
    rows, counts = [], Counter[str]()
    runs = runs_of(kept)
    for name, one in sorted(kept["folders"].items()):
        word, reason = verdict(name, kept)
        counts[word] += 1
        detector = f"{one.get('detector', '')}{', ' + one['kind'] if 'kind' in one else ''}"
        adapter = f"`{one['adapter']}`" if "adapter" in one else ""
        run = 1 + list(runs).index(_run(one, kept)) if "converted" in one else ""
        rows.append([f"`{name}`", one.get("config", ""), detector, adapter, word, run, _cell(reason)])
    place = kept["machine"]
    versions = ", ".join(f"{package} {place[package]}" for package in ("mmdet", "torch", "torchvision", "onnxruntime"))
    lines = [
        "<!-- Written by `make docs` out of benchmarks/results/mmdet_families.json: run benchmarks/detectors/families.py. -->",
        "# The families of MMDetection",
        "",
        f"One configuration of each of the {len(rows)} folders in mmdet's wheel, built on the meta device and passed to the adapters `detr` and",
        f"`mmdet`; up to five are tried until one is accepted. Classified by `python -m benchmarks.detectors.families`, {place['date']}, with",
        f"{versions}. [`adaptrt sweep`](../how-to/run-many-conversions.md) runs the conversions, with random weights that produce detections;",
        "`families.py --prepare` writes these weights and the sweep's file, and `--take` reads its reports. The runs:",
        "",
        *(f"{number}. {folders} folders: {text}" for number, (text, folders) in enumerate(runs.items(), 1)),
        "",
        *markdown(
            ["verdict", "folders", "meaning"],
            [[word, counts[word], meaning] for word, meaning in MEANING.items() if counts[word]],
        ),
        "",
        "Two-stage detectors keep 20 of 60 proposals and 40 boxes, which is quick on a CPU. DINO has 40 queries instead of 900: it gives each of",
        "the best cells of its encoder the query of its rank, and with random weights some of 900 cells have scores so close that one rounding",
        "error exchanges their queries, in mmdet itself too (`tests/adapters/mmdet/test_deformable.py`). With 900, the conversion skips such",
        "images and samples, and reports it as partly verified.",
        "",
        "A configuration of a family that is rejected may need a package that is not installed; such reasons hold for this installation.",
        "",
        *markdown(["folder", "configuration", "detector", "adapter", "verdict", "run", "details"], rows),
    ]
    return "\n".join(lines) + "\n"


def runs_of(kept: dict[str, Any]) -> dict[str, int]:
    """The machines and versions that conversions ran with, and the number of folders, most first."""
    counts = Counter(_run(one, kept) for one in kept["folders"].values() if "converted" in one)
    return dict(counts.most_common())


def _run(one: dict[str, Any], kept: dict[str, Any]) -> str:
    own = "" if "machine" in one["converted"] else "; by an earlier version of the script, without a sweep"
    return machine({"machine": place_of(one, kept)}) + own


def _cell(text: str) -> str:
    text = " ".join(text.replace("|", "/").split())
    return text if len(text) <= 200 else f"{text[:197]}..."
