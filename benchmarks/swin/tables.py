"""The tables of docs/explanation/swin-patches.md; `make docs` writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, markdown, read, with_tables
from benchmarks.swin.relatives import NAMES as RELATIVES

VARIANTS = (
    "swin_tiny_patch4_window7_224",
    "swin_small_patch4_window7_224",
    "swin_base_patch4_window7_224",
    "swin_large_patch4_window7_224",
    "swin_base_patch4_window12_384",
    "swin_large_patch4_window12_384",
    "swin_s3_tiny_224",
    "swin_s3_small_224",
    "swin_s3_base_224",
)
NOT_TRIED = "not tried"
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "swin-patches.md"


def swin_variants() -> list[str]:
    rows, models = list[list[Any]](), kept("swin_variants")
    for name in VARIANTS:
        if name not in models:
            rows.append([f"`{name}`", NOT_TRIED, *[""] * 7])
            continue
        one = models[name]
        plain = one["unpatched, torchscript"]
        rows.append(
            [
                f"`{name}`",
                one["nodes"],
                f"{max(one['difference'].values()):.1e}",
                f"{one['batch_invariance']:.1e}",
                f"{one['megabytes']:.0f} MB",
                *(
                    text
                    for batch in ("batch 1", "batch 4")
                    for text in (
                        f"{plain[batch]['patched']['median']:.3g} s",
                        f"{plain[batch]['ratio']['median']:.2f}",
                    )
                ),
            ]
        )
    head = ["model", "nodes", "difference", "batch", "file", "batch 1", "ratio", "batch 4", "ratio"]
    return markdown(head, rows)


def swin_unpatched() -> list[str]:
    rows, models = list[list[Any]](), kept("swin_variants")
    for name in VARIANTS:
        one = models.get(name, {})
        sides = [one.get(f"unpatched, {exporter}") for exporter in ("torchscript", "dynamo")]
        cells = [
            [side["nodes_exported"], side["nodes"], side["nodes_onnxslim"]] if side else [NOT_TRIED, "", ""]
            for side in sides
        ]
        dynamo = sides[1]
        ratios = [f"{dynamo[batch]['ratio']['median']:.2f}" if dynamo else "" for batch in ("batch 1", "batch 4")]
        rows.append([f"`{name}`", *cells[0], *cells[1], *ratios])
    steps = ["after adaptrt's passes", "and onnxslim"]
    return markdown(["model", "TorchScript", *steps, "dynamo", *steps, "patched / dynamo, batch 1", "batch 4"], rows)


def swin_relatives() -> list[str]:
    rows, models = list[list[Any]](), kept("swin_relatives")
    for name in RELATIVES:
        if name not in models:
            rows.append([f"`{name}`", NOT_TRIED, "", "", ""])
            continue
        tried = models[name]
        passed = next((exporter for exporter, one in tried.items() if one.get("passed")), None)
        if passed:
            one = tried[passed]
            rows.append([f"`{name}`", "pass", f"{one['difference']:.1e}", one["nodes"], passed])
        else:
            reasons = "; ".join(f"{exporter}: {failure(one)}" for exporter, one in tried.items())
            rows.append([f"`{name}`", "not supported", reasons.replace("|", "/").replace("\n", " "), "", ""])
    return markdown(["model", "", "difference", "nodes", "exporter"], rows)


def swin_top1() -> list[str]:
    found = read("swin_top1")
    same = found["same top-1 as eager (%)"]
    rows = [
        [pipeline, f"{score:.1f} %", f"{same[pipeline]:.1f} %" if pipeline in same else ""]
        for pipeline, score in found["top-1 (%)"].items()
    ]
    return markdown(["pipeline", "top-1", "same as eager"], rows)


FORMS = {
    "gather": "what the adapter writes",
    "unaligned": "49 keys for each window",
    "gelu": "GELU as torch writes it",
    "gathered": "a Gather for every step",
    "plain": "all three",
    "broadcast": "bias and mask as two constants",
    "slices": "roll by slices, windows by transposes",
    "unpatched": "unpatched",
}


def swin_engines() -> list[str]:
    found = read("swin_gpu")
    rows = []
    for name in ("tiny", "small", "base"):
        for precision in ("fp32", "fp16"):
            one = found[f"accuracy_{name}_gather_{precision}"]
            half = f"{one['eager_half_difference']:.1e}" if precision == "fp16" else ""
            rows.append(
                [f"Swin-{name[0].upper()}", precision, f"{one['difference']:.1e}", half, percent(one["same_top1"]), ""]
            )
    for precision, kept32 in {
        "fp32": "",
        "fp16": "",
        "fp16_norm32": "LayerNormalization",
        "fp16_soft32": "Softmax",
    }.items():
        one = found[f"accuracy_shapes_gather_{precision}"]
        title = precision.partition("_")[0] + (f", {kept32} in float32" if kept32 else "")
        rows.append(
            ["the fixture", title, f"{one['difference']:.1e}", "", percent(one["same_top1"]), percent(one["top1"])]
        )
    head = ["engine", "precision", "difference", "torch's own in half precision", "same top-1", "top-1"]
    return markdown(head, rows)


def swin_latency() -> list[str]:
    found = read("swin_gpu")
    alone, beside = found["latency"], found["latency_torch"]
    batches = [name for name in alone if name.startswith("batch")]
    rows = []
    for form, title in FORMS.items():
        times = [
            f"{alone[batch][form]['p50']:.0f} / {beside[batch][f'timed_tiny_{form}']['p50']:.0f}" for batch in batches
        ]
        rows.append([title, f"{found[f'accuracy_timed_tiny_{form}']['difference']:.1e}", *times])
    for name in beside[batches[0]]:
        if name.startswith("torch") and name.endswith("fp16"):
            rows.append([name, "", *(f"{beside[batch][name]['p50']:.0f}" for batch in batches)])
    for side, form in (("what the adapter writes", "gather"), ("unpatched", "unpatched")):
        times = [f"{beside[batch][f'times eager: timed_tiny_{form}']:.2f}" for batch in batches]
        rows.append([f"times eager, {side}", "", *times])
    return markdown(["Swin-T, fp16", "difference", *batches], rows)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def failure(one: dict[str, Any]) -> str:
    return one.get("failed") or f"differs by {one['difference']:.1e}"


TABLES: dict[str, Callable[[], list[str]]] = {
    "swin_variants": swin_variants,
    "swin_unpatched": swin_unpatched,
    "swin_relatives": swin_relatives,
    "swin_top1": swin_top1,
    "swin_engines": swin_engines,
    "swin_latency": swin_latency,
}


def kept(name: str) -> dict[str, Any]:
    models: dict[str, Any] = read(name)["models"] if (FOLDER / f"{name}.json").is_file() else {}
    return models


def page() -> str:
    """The page with its tables as the results have them."""
    return with_tables(PAGE, TABLES)
