"""Every Swin (v1) in timm: nodes, differences from the unpatched model, time in ONNX Runtime compared with an unpatched export.

::

    python -m benchmarks.swin.variants                                   all of them; hours on a small machine
    python -m benchmarks.swin.variants swin_tiny_patch4_window7_224      one, added to benchmarks/results/swin_variants.json

Perturbed weights, dynamic batch. The unpatched exports (adapter ``timm``, which has no patches) go through the same graph
passes. Times are CPU seconds of one thread, measured alternately; the ratio is the median over all pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.results import spread
from benchmarks.swin.common import each_alone, image_batch, perturbed, session

BATCHES = (1, 2, 3, 5, 8)
PACKAGES = ("adaptrt", "adaptrt-timm", "timm", "torch", "onnxruntime", "onnxslim")


def measure(name: str, rounds: int, unpatched: list[str]) -> dict[str, Any]:
    import adaptrt

    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        os.environ["ADAPTRT_CACHE_DIR"] = text  # a conversion from the cache has no time worth keeping
        weights = perturbed(name, folder)
        started = time.perf_counter()
        report = adaptrt.convert(
            name,
            adapter="swin",
            weights=weights,
            output=folder / "patched.onnx",
            batch="1:8",
            verify="none",
            html=False,
        )
        result: dict[str, Any] = {
            "convert_seconds": time.perf_counter() - started,
            "nodes": sum(report.operators["final"].values()),
            "operators": report.operators["final"],
            "megabytes": (folder / "patched.onnx").stat().st_size / 1e6,
        }
        size = report.spec.image_size  # type: ignore[union-attr]
        x = image_batch(size, max(BATCHES))
        patched = session(folder / "patched.onnx")
        result |= agreement(eager(name, weights, x), patched, x)
        for exporter in unpatched:
            path = folder / f"{exporter}.onnx"
            plain = adaptrt.convert(
                name,
                adapter="timm",
                weights=weights,
                output=path,
                batch="1:8",
                verify="none",
                exporter=exporter,  # type: ignore[arg-type]
                html=False,
            )
            one: dict[str, Any] = {
                "nodes": sum(plain.operators["final"].values()),
                "nodes_exported": sum(plain.operators["exported"].values()),
                "nodes_onnxslim": slimmed(path),
            }
            for batch in (1, 4):
                one[f"batch {batch}"] = compared(patched, session(path), x[:batch], rounds)
            result[f"unpatched, {exporter}"] = one
        return result


def eager(name: str, weights: Path, x: np.ndarray) -> np.ndarray:
    """What the untouched model gives for each image alone."""
    import timm
    import torch
    from safetensors.torch import load_file

    model = timm.create_model(name).eval()
    model.load_state_dict(load_file(weights))
    with torch.inference_mode():
        return np.concatenate([model(torch.from_numpy(one[None])).numpy() for one in x])


def agreement(expected: np.ndarray, runner: Any, x: np.ndarray) -> dict[str, Any]:
    outputs = {batch: runner.run(None, {"images": x[:batch]})[0] for batch in BATCHES}
    alone = np.concatenate([runner.run(None, {"images": one[None]})[0] for one in x])
    return {
        "difference": {batch: float(np.abs(found - expected[:batch]).max()) for batch, found in outputs.items()},
        "batch_invariance": max(float(np.abs(found - alone[:batch]).max()) for batch, found in outputs.items()),
        "largest_logit": float(np.abs(expected).max()),
        "spread_of_logits_over_images": float(expected.std(0).mean()),
    }


def compared(patched: Any, unpatched: Any, x: np.ndarray, rounds: int) -> dict[str, Any]:
    """CPU seconds of each, and their ratio, in turns."""
    sides = {"patched": patched, "unpatched": unpatched}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(rounds + 1):
        for side in sides if turn % 2 else reversed(sides):
            started = time.process_time()
            sides[side].run(None, {"images": x})
            if turn:
                times[side].append(time.process_time() - started)
    ratios = [a / b for a, b in zip(times["patched"], times["unpatched"], strict=True)]
    return {**{side: spread(values) for side, values in times.items()}, "ratio": spread(ratios)}


def slimmed(path: Path) -> int:
    """Nodes that onnxslim leaves of it."""
    import onnx
    import onnxslim

    return len(onnxslim.slim(onnx.load(str(path))).graph.node)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--unpatched", nargs="*", default=["torchscript", "dynamo"])
    options = parser.parse_args()
    extra = ["--rounds", str(options.rounds), "--unpatched", *options.unpatched]
    if options.one:
        print(json.dumps(measure(options.one, options.rounds, options.unpatched)))
        return
    import timm

    names = options.names or timm.list_models(module="swin_transformer")
    each_alone("benchmarks.swin.variants", names, "swin_variants", PACKAGES, *extra)


if __name__ == "__main__":
    main()
