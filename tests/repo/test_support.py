"""What tests share leaves the process as it was, so that any files of tests may run beside each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from installed import require_distributions

SUPPORT = Path(__file__).parents[1] / "support"


def test_asking_for_distributions_spoils_no_import() -> None:
    require_distributions("pip", "setuptools", reason="they are what gets into each other's way")
    program = """
from installed import require_distributions
require_distributions("pip", "setuptools", reason="")
import setuptools
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=SUPPORT, check=False)
    assert done.returncode == 0, done.stderr
