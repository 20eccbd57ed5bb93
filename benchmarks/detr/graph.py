"""The graph of DETR-R50 from both exporters: number of nodes, operators, differences from the unpatched model.

::

    python -m benchmarks.detr.graph           all of the list below; results/detr_graph.json
    python -m benchmarks.detr.graph 480x640-torchscript

Random weights with scores and statistics in the range of trained networks (detr/family.py), dynamic batch, fixed size; the
differences are those of the conversion's links 1 and 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.common.results import FOLDER, machine, table
from benchmarks.detr.family import lively

CONFIG = "detr_r50_8xb2-150e_coco"
CASES = {
    "320x416-torchscript": ("320x416", "torchscript"),
    "320x416-dynamo": ("320x416", "dynamo"),
    "480x640-torchscript": ("480x640", "torchscript"),
    "800x1216-torchscript": ("800x1216", "torchscript"),
}
SHAPE_ARITHMETIC = ("Shape", "Gather", "Expand", "ScatterND")


def measure(name: str) -> dict[str, Any]:
    import adaptrt

    size, exporter = CASES[name]
    height, width = (int(side) for side in size.split("x"))
    with tempfile.TemporaryDirectory() as text:
        os.environ["ADAPTRT_CACHE_DIR"] = text
        weights, _ = lively(CONFIG, Path(text))
        report = adaptrt.convert(
            CONFIG,
            adapter="detr",
            weights=weights,
            output=Path(text) / "out.onnx",
            imgsz=size,
            batch="1:2:8",
            exporter=exporter,  # type: ignore[arg-type]
            verify="quick",
            html=False,
        )
        final = report.operators["final"]
        checks = {link: {check.title: check.value for check in report.link(link).checks} for link in (1, 2)}
        return {
            "size": [height, width],
            "exporter": exporter,
            "nodes": sum(final.values()),
            "shape arithmetic": {name: final[name] for name in SHAPE_ARITHMETIC if name in final},
            "operators": final,
            "scores": {f"link {link}": one["scores"] for link, one in checks.items()},
            "boxes, parts of a side": {
                f"link {link}": one["boxes"] / max(height, width) for link, one in checks.items()
            },
            "labels that differ": {f"link {link}": one["labels"] for link, one in checks.items()},
            "alone and in a batch": {key: value for key, value in checks[2].items() if key.endswith("batch")},
        }


def unpatched() -> dict[str, Any]:
    """The same wrapper without patches, raw from TorchScript with a dynamic batch."""
    import onnx
    import torch

    from adaptrt import Conversion, Request
    from adaptrt_mmdet.options import DetrOptions
    from adaptrt_mmdet.query_family import wrap
    from adaptrt_mmdet.sources import open_source

    with tempfile.TemporaryDirectory() as text:
        ctx = Conversion(Request(CONFIG, "detr"), DetrOptions(), Path(text))
        model = wrap(open_source(ctx), ctx.options).eval()
        path = Path(text) / "out.onnx"
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, 320, 416),),
            str(path),
            input_names=["images"],
            dynamic_axes={"images": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        found = Counter(node.op_type for node in onnx.load(str(path)).graph.node)
    del found["Constant"]
    return {"nodes": sum(found.values()), "shape arithmetic": {name: found[name] for name in SHAPE_ARITHMETIC}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CASES))
    options = parser.parse_args()
    path = FOLDER / "detr_graph.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    if not options.names:
        kept["unpatched torchscript"] = unpatched()
    for name in options.names or CASES:
        kept["cases"][name] = measure(name)
        kept["machine"] = machine("adaptrt", "adaptrt-mmdet", "mmdet", "torch", "onnxruntime")
        path.write_text(json.dumps(kept, indent=2) + "\n")
        print(name, kept["cases"][name]["nodes"], file=sys.stderr, flush=True)
    table(
        ("case", "nodes", "scores", "boxes"),
        [
            (name, one["nodes"], max(one["scores"].values()), max(one["boxes, parts of a side"].values()))
            for name, one in kept["cases"].items()
        ],
    )


if __name__ == "__main__":
    main()
