"""Sweeps whose conversions are a small script, which counts its starts in the folder of the conversion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from adaptrt.specs.executors import CommandLimits
from adaptrt.sweep.plan import cells_of
from adaptrt.sweep.run import SweepRequest

CONTENT = {
    "options": {"verify": "quick"},
    "models": [
        {"name": "one", "source": "a/one.pt", "adapter": "torch"},
        {"source": "b/two.pt", "set": {"conf": "0.4"}},
    ],
    "axes": {"imgsz": [64, "64x96"], "precision": ["fp32", "fp16"]},
}
FAKE = """
import json, os, sys, time
from pathlib import Path
words = sys.argv[1:]
folder = Path(words[words.index("-o") + 1])
config = Path(words[words.index("--config") + 1]).read_text()
print("working", file=sys.stderr)
(folder / "starts").open("a").write(f"{time.monotonic()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
(folder / "pid").write_text(str(os.getpid()))
(folder / "threads").write_text(os.environ.get("OMP_NUM_THREADS", ""))
for _ in range(int(os.environ.get("STEPS", "1"))):
    time.sleep(0.01)
(folder / "ends").write_text(str(time.monotonic()))
if "fp16" in config and "64x96" in config:
    print(json.dumps({"error": {"message": "no memory"}}))
    sys.exit(8)
print(json.dumps({"verdict": {"word": "verified"}, "operators": {"export": {"Add": 9}, "final": {"Add": 3, "Mul": 2}},
    "files": {"onnx": {"bytes": 1000, "path": str(folder / "best.onnx")}, "onnx.json": {"path": "x"}}, "links": [
    {"number": 2, "checks": [{"value": 1.0, "limit": 4.0, "kind": "samples"}, {"value": 1.0, "limit": 2.0, "kind": "batch"}]},
    {"number": 5, "checks": [{"value": 0.9, "limit": 0.8, "kind": "metric"}]}]}))
"""  # fmt: skip


def request(folder: Path, **changed: Any) -> SweepRequest:
    fake = folder / "fake.py"
    fake.write_text(FAKE)
    limits = CommandLimits(**{key: changed.pop(key) for key in ("jobs", "memory", "gpus") if key in changed})
    given: dict[str, Any] = {
        "limits": limits,
        "cells": cells_of(CONTENT, "s.toml"),
        "output": folder / "out",
        "command": (sys.executable, "-S", str(fake)),
    }
    return SweepRequest(**{**given, **changed})


def starts(folder: Path) -> dict[str, int]:
    return {path.parent.name: len(path.read_text().splitlines()) for path in (folder / "out").glob("*/starts")}
