"""Converts relatives of Swin and other classifiers with the adapter ``timm``: passed, or where it fails.

::

    python -m benchmarks.swin.relatives                          the list below
    python -m benchmarks.swin.relatives swinv2_cr_tiny_224       one, added to benchmarks/results/swin_relatives.json

Perturbed weights, batch 1 to 3, verified by the conversion itself: ONNX Runtime compared with the model, for single samples
and in batches of 2 and 3. If the first exporter fails, the other one is tried.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.swin.common import each_alone, perturbed

LIMIT = 1e-4
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


def measure(name: str) -> dict[str, Any]:
    import adaptrt

    tried: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["ADAPTRT_CACHE_DIR"] = text  # a conversion from the cache has no time worth keeping
        weights = perturbed(name, folder)
        for exporter in ("dynamo", "torchscript"):
            started = time.perf_counter()
            try:
                report = adaptrt.convert(
                    name,
                    adapter="timm",
                    weights=weights,
                    output=folder,
                    batch="1:2:3",
                    exporter=exporter,  # type: ignore[arg-type]
                    html=False,
                )
            except adaptrt.AdaptrtError as error:
                tried[exporter] = {"failed": error.message}
                continue
            checks = {check.title: check.value for check in report.link(2).checks}
            tried[exporter] = {
                "difference": checks["logits"],
                "in_a_batch": checks["logits in a batch"],
                "nodes": sum(report.operators["final"].values()),
                "seconds": time.perf_counter() - started,
                "passed": checks["logits"] <= LIMIT,
            }
            if tried[exporter]["passed"]:
                break
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    each_alone("benchmarks.swin.relatives", options.names or NAMES, "swin_relatives", PACKAGES)


if __name__ == "__main__":
    main()
