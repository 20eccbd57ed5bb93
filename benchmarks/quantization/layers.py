"""The layers of engines that take longest, as TensorRT's profiler measures them: why int8 is not faster.

::

    python -m benchmarks.quantization.layers --batch 32 yolov5m_int8.engine yolov5m_fp16.engine

Prints JSON, "layers by time" of the results. Inputs are random images in host memory; the time of a layer does not
depend on them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.work import manifest_of

RUNS, LONGEST, SHOWN = 10, 15, 160


def measure(engine: Path, batch: int) -> dict[str, Any]:
    from adaptrt.backends.tensorrt.runtime import TensorRTRunner

    with TensorRTRunner(engine) as runner:
        assert runner.spec is not None
        (given,) = runner.spec.inputs
        sizes = [dim.opt for dim in given.dims[1:]]
        images = np.random.default_rng(0).random((batch, *sizes), np.float32)
        times = runner.layer_times({given.name: images}, RUNS)
    manifest = manifest_of(engine)
    layers = manifest["precision_report"]["table"]
    kinds = {one["name"]: f"{one['kind']} {one['precision'] or ''}".strip() for one in layers}
    by_kind: dict[str, list[float]] = {}
    for name, seconds in times.items():
        by_kind.setdefault(kinds.get(name, "not in the engine's list"), []).append(1e3 * seconds)
    longest = sorted(times.items(), key=lambda one: one[1], reverse=True)[:LONGEST]
    return {
        "batch": batch,
        "level": manifest["options"]["optimization_level"],
        "milliseconds": round(1e3 * sum(times.values()), 3),
        "by kind": {
            kind: {"layers": len(found), "milliseconds": round(sum(found), 3)}
            for kind, found in sorted(by_kind.items(), key=lambda one: -sum(one[1]))
        },
        "longest layers": [[round(1e3 * seconds, 3), name[:SHOWN]] for name, seconds in longest],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    print(json.dumps({path.stem: measure(path, options.batch) for path in options.engines}, indent=1))


if __name__ == "__main__":
    main()
