"""An engine on the second of two GPUs: CUDA starts there alone, from all threads and memories; skipped with fewer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gpu_commands import Commands

PROGRAM = Path(__file__).parent.parent / "support" / "second_gpu.py"


def test_the_first_gpu_is_not_touched(full: Commands, cudart: Any) -> None:
    if cudart.cudaGetDeviceCount()[1] < 2:
        pytest.skip("needs two GPUs")
    full.built("fp32")
    image = next(iter(sorted(full.images.iterdir())))
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(full.engine("fp32")), str(image)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
