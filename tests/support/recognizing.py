"""Recognizers, asked in a process of their own that must not import a framework."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

_ASK = """
import json, sys
from importlib import import_module
from adaptrt.checkpoint import read_facts
recognizer = import_module(sys.argv[1]).recognizer
answers = {
    source: [(match.adapter, match.certainty) for match in recognizer.recognize(read_facts(source))]
    for source in sys.argv[2:]
}
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
