"""Converts relatives of Swin and other classifiers with the adapter ``timm``: passed, or where it fails.

::

    python -m benchmarks.swin.relatives DIR [swinv2_cr_tiny_224 ...]    weights and DIR/sweep.toml, of the list below or of these
    adaptrt sweep DIR/sweep.toml -o DIR/sweep --jobs 2                  the conversions, with both exporters
    python -m benchmarks.swin.relatives DIR --take                      adds their rows to results/swin_relatives.json

Perturbed weights, batch 1 to 3, verified by the conversion itself: ONNX Runtime compared with the model, for single samples
and in batches of 2 and 3.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, machine
from benchmarks.common.sweeps import INPUTS, Conversion, conversions, write_sweep
from benchmarks.swin.common import perturbed

LIMIT = 1e-4
EXPORTERS = ("dynamo", "torchscript")
OPTIONS = {"to": "onnx", "target": "8", "batch": "1:2:3", "cache": False}
"""Of every conversion; the target, since nodes depend on it and its default on what is installed."""
PACKAGES = ("adaptrt", "adaptrt-timm", "timm", "torch", "onnxruntime")
SWIN_V2 = [
    "swinv2_tiny_window8_256",
    "swinv2_tiny_window16_256",
    "swinv2_small_window8_256",
    "swinv2_small_window16_256",
    "swinv2_base_window8_256",
    "swinv2_base_window12_192",
    "swinv2_base_window16_256",
    "swinv2_base_window12to16_192to256",
    "swinv2_base_window12to24_192to384",
    "swinv2_large_window12_192",
    "swinv2_large_window12to16_192to256",
    "swinv2_large_window12to24_192to384",
]
SWIN_V2_CR = [
    "swinv2_cr_tiny_224",
    "swinv2_cr_tiny_ns_224",
    "swinv2_cr_tiny_384",
    "swinv2_cr_small_224",
    "swinv2_cr_small_ns_224",
    "swinv2_cr_small_ns_256",
    "swinv2_cr_small_384",
    "swinv2_cr_base_224",
    "swinv2_cr_base_ns_224",
    "swinv2_cr_base_384",
    "swinv2_cr_large_224",
    "swinv2_cr_large_384",
    "swinv2_cr_huge_224",
    "swinv2_cr_huge_384",
    "swinv2_cr_giant_224",
    "swinv2_cr_giant_384",
]
OTHERS = [
    "resnet18",
    "resnet50",
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenetv3_large_100",
    "vit_tiny_patch16_224",
    "deit_small_patch16_224",
    "maxvit_tiny_tf_224",
    "coatnet_0_rw_224",
    "poolformer_s12",
    "twins_svt_small",
]
NAMES = [*SWIN_V2, *SWIN_V2_CR, *OTHERS]


def prepare(name: str, folder: Path) -> dict[str, Any]:
    """An entry of ``[[models]]``. Weights are written into ``folder``."""
    return {"name": name, "source": name, "adapter": "timm", "weights": str(perturbed(name, folder))}


def row_of(conversion: Conversion) -> dict[str, Any]:
    """What the report says of the conversion."""
    if conversion.failure:
        return {"failed": conversion.failure}
    checks = {check["kind"]: check["value"] for check in conversion.link(2)["checks"] if check["name"] == "logits"}
    return {
        "difference": checks["samples"],
        "in_a_batch": checks["batch"],
        "nodes": conversion.nodes(),
        "seconds": conversion.seconds,
        "passed": checks["samples"] <= LIMIT,
    }


def take(root: Path, path: Path) -> None:
    """Add the rows of the sweep in ``root``, which ran on this machine, to the result in ``path``."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
    found: dict[str, dict[str, Any]] = {}
    for conversion in conversions(root):
        found.setdefault(conversion.options["source"], {})[conversion.options["exporter"]] = row_of(conversion)
    for name, rows in found.items():
        kept["models"][name] = {exporter: rows[exporter] for exporter in EXPORTERS if exporter in rows}
        print(name, kept["models"][name], flush=True)
    kept["machine"] = machine(*PACKAGES)
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, help="prepare so many at a time")
    parser.add_argument("--take", action="store_true", help="add the results of the sweep")
    parser.add_argument(
        "--into", type=Path, default=FOLDER / "swin_relatives.json", metavar="FILE", help="where results are kept"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(prepare(options.one, (options.root / INPUTS / options.one).absolute())))
    elif options.take:
        take(options.root, options.into)
    else:
        command = ("-m", "benchmarks.swin.relatives", str(options.root), "--one")
        write_sweep(options.root, command, options.names or NAMES, options.jobs, OPTIONS, {"exporter": EXPORTERS})


if __name__ == "__main__":
    main()
