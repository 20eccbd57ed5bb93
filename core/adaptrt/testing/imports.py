"""What importing a plugin's module imports."""

from __future__ import annotations

import os
import subprocess
import sys

HEAVY = ("cv2", "onnx", "onnxruntime", "onnxscript", "tensorrt", "torch", "torchvision")


def heavy_imports(module: str) -> list[str]:
    """The heavy packages that a new process imports with this module; fails if the import fails."""
    program = f"import sys; import {module}; print('LOADED', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # distributions of a test too
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={**os.environ, **paths}
    )
    assert done.returncode == 0, f"import {module} failed:\n{done.stderr}"
    return done.stdout.partition("LOADED")[2].split()
