"""``--budget SECONDS``: what a suite may take on two quiet cores, printed and checked at its end.

CPU time is what is counted, of this process and of every process below it, so that neither fewer cores nor a test that
waits counts. A machine that runs something else at the same time slows the CPU time too: there the budget is printed
and nothing fails. ``ADAPTRT_NO_BUDGET=1`` turns the check off.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

CORES = 2
QUIET = 0.1
"""The share of the machine that other processes may use during the run of a suite that is checked."""

_START = pytest.StashKey["Used"]()
_SPENT = pytest.StashKey["Spent"]()


@dataclass(frozen=True)
class Used:
    """CPU seconds so far: ours, and those of the whole machine (``None`` where nothing says them)."""

    ours: float
    machine: float | None
    capacity: float

    @classmethod
    def now(cls) -> Used:
        usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        ours = sum(usage.ru_utime + usage.ru_stime for usage in usages)
        stat = Path("/proc/stat")
        if not stat.exists():
            return cls(ours, None, 0.0)
        ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
        idle = ticks[3] + ticks[4]
        second = os.sysconf("SC_CLK_TCK")
        return cls(ours, (sum(ticks) - idle) / second, sum(ticks) / second)


@dataclass(frozen=True)
class Spent:
    """What a suite took of its budget, in seconds on two cores; ``others``: the share of the machine they used."""

    seconds: float
    budget: float
    others: float | None

    @classmethod
    def between(cls, start: Used, end: Used, budget: float) -> Spent:
        ours = end.ours - start.ours
        others = None
        if start.machine is not None and end.machine is not None and end.capacity > start.capacity:
            others = max(0.0, end.machine - start.machine - ours) / (end.capacity - start.capacity)
        return cls(ours / CORES, budget, others)

    @property
    def exceeded(self) -> bool:
        return self.seconds > self.budget

    @property
    def excuse(self) -> str:
        """Why a budget that was exceeded is no failure; empty where it is one."""
        if os.environ.get("ADAPTRT_NO_BUDGET"):
            return "ADAPTRT_NO_BUDGET is set"
        if self.others is None:
            return "what else the machine runs is not known"
        return f"other processes used {self.others:.0%} of the machine" if self.others > QUIET else ""

    @property
    def failed(self) -> bool:
        return self.exceeded and not self.excuse

    def __str__(self) -> str:
        text = f"{self.seconds:.0f} s of {self.budget:.0f} s on {CORES} quiet cores (CPU time)"
        if self.exceeded:
            text += f", exceeded: {self.excuse or 'move heavy variants to @pytest.mark.full, or make them cheaper'}"
        return text


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--budget", type=float, metavar="SECONDS", help="fail beyond this time on two quiet cores")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_START] = Used.now()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """After the workers ended, whose time counts from then on, and before the summary."""
    yield
    budget = session.config.getoption("--budget")
    if budget is None or hasattr(session.config, "workerinput"):
        return
    spent = Spent.between(session.config.stash[_START], Used.now(), budget)
    session.config.stash[_SPENT] = spent
    if spent.failed and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    spent = config.stash.get(_SPENT, None)
    if spent is not None:
        terminalreporter.write_line(f"time budget: {spent}", red=spent.failed)
