"""Recognizers, asked in a process of their own that must not import a framework, and in the time that they may take."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

_ASK = """
import json, sys, time
from importlib import import_module
from adaptrt import specs
from adaptrt.checkpoint import read_facts
now = time.process_time  # of this process alone: other work on the machine counts little
started = now()
recognizer = import_module(sys.argv[1]).recognizer
imported = now() - started
answers, seconds = {}, {}
for source in sys.argv[2:]:
    times = []
    for _ in range(4):
        started = now()
        known = read_facts(source)
        answers[source] = [(match.adapter, match.certainty) for match in recognizer.recognize(known)]
        times.append(now() - started)
    seconds[source] = imported + min(times)
# 50 ms on a machine that does nothing else (benchmarks/startup/recognizing.py); CPU time doubles on a busy one
assert max(seconds.values()) < 0.1, f"a source must be read and recognized within 50 ms, the import included: {seconds}"
heavy = {"torch", "torchvision", "timm", "mmdet", "mmengine", "mmcv", "ultralytics", "onnx", "cv2"} & set(sys.modules)
assert not heavy, heavy
print(json.dumps(answers))
"""


def recognized(module: str, sources: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Source to (adapter, certainty) for each match of the recognizer in ``module``; the process imports no framework."""
    done = subprocess.run([sys.executable, "-c", _ASK, module, *sources], check=True, capture_output=True, text=True)
    return {
        source: [(adapter, certainty) for adapter, certainty in found]
        for source, found in json.loads(done.stdout).items()
    }
