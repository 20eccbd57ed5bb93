"""A suite that takes longer than it may fails, unless the machine was busy with something else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import budget
import pytest
from budget import Spent, Used

ROOT = Path(__file__).parents[2]
CONFTEST = "from budget import pytest_addoption, pytest_configure, pytest_sessionfinish, pytest_terminal_summary\n"
BURNS = """
import time

def test_burns():
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
"""


@pytest.fixture(autouse=True)
def _checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADAPTRT_NO_BUDGET", raising=False)


def spent(ours: float, others: float | None, *, wall: float = 100.0, cores: int = 2) -> Spent:
    """A suite with a budget of 50 s that used so much CPU time beside other processes."""
    machine = None if others is None else 1000 + ours + others
    start = Used(10.0, None if others is None else 1000.0, 5000.0)
    return Spent.between(start, Used(10.0 + ours, machine, 5000.0 + wall * cores), 50.0)


def test_within_the_budget() -> None:
    found = spent(90, 0)
    assert (found.seconds, found.exceeded, found.failed) == (45, False, False)


def test_beyond_it_on_a_quiet_machine() -> None:
    found = spent(110, 5)
    assert found.failed
    assert "55 s of 50 s" in str(found)
    assert "exceeded: move heavy variants" in str(found)


@pytest.mark.parametrize(
    ("others", "reason"), [(80, "other processes used 40% of the machine"), (None, "is not known")]
)
def test_beyond_it_beside_other_work(others: float | None, reason: str) -> None:
    found = spent(110, others)
    assert found.exceeded
    assert not found.failed
    assert reason in str(found)


def test_the_check_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_NO_BUDGET", "1")
    assert not spent(110, 0).failed


@pytest.mark.full
@pytest.mark.parametrize(("seconds", "quiet", "code"), [(600, 0.1, 0), (0.01, 2, 1), (0.01, -1, 0)])
def test_a_run(seconds: float, quiet: float, code: int, tmp_path: Path) -> None:
    """``quiet`` above 1: no machine counts as busy; below 0: every one does. The time of workers counts."""
    (tmp_path / "conftest.py").write_text(f"import budget\nbudget.QUIET = {quiet}\n{CONFTEST}")
    (tmp_path / "test_it.py").write_text(BURNS)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(Path(budget.__file__).parent)}
    done = subprocess.run(
        [*command, "--rootdir", tmp_path, "--budget", str(seconds)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("time budget: ")]
    assert ("exceeded" in line) == (seconds < 1)
    assert float(line.split()[2]) >= 0


def test_suites_are_run_with_a_budget() -> None:
    """Both leave a quarter of an hour of 60 minutes for the installations, the checks, and the oldest and newest frameworks."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    budgets = [int(line.split("--budget ")[1].split()[0]) for line in makefile.splitlines() if "--budget " in line]
    assert len(budgets) == 2
    assert sum(budgets) <= 45 * 60
