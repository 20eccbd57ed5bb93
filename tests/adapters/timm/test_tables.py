"""The tables of the documentation say what was measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "swin_tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
