"""Build progress, as reported by TensorRT 10 and later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_INTERVAL = 0.2  # seconds


@dataclass
class Progress:
    """The completed ``fraction`` of the build, from 0 to 1; ``None`` if TensorRT does not report it."""

    fraction: float | None
    text: str


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class PhaseTree:
    """Nested phases to one fraction: a step of a phase counts as its share of the parent's current step."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _Phase(parent, max(steps, 1))

    def step(self, name: str, step: int) -> None:
        if name in self._phases:
            self._phases[name].done = step + 1

    def finish(self, name: str) -> None:
        phase = self._phases.pop(name, None)
        if phase is not None and phase.parent is None:
            self._fraction = max(self._fraction, 1.0)

    @property
    def fraction(self) -> float:
        """Never decreases, although TensorRT adds phases during the build."""
        roots = [name for name, phase in self._phases.items() if phase.parent not in self._phases]
        if roots:
            self._fraction = max(self._fraction, self._done(roots[0]))
        return min(self._fraction, 1.0)

    def _done(self, name: str) -> float:
        phase = self._phases[name]
        children = [child for child, found in self._phases.items() if found.parent == name]
        current = sum(self._done(child) for child in children) / len(children) if children else 0.0
        return min((phase.done + current) / phase.steps, 1.0)


def progress_monitor(trt: Any, report: Callable[[Progress], None]) -> Any:
    """An ``IProgressMonitor`` that reports at most every ``_INTERVAL`` seconds."""
    tree = PhaseTree()
    last = 0.0

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            tree.start(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            tree.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            nonlocal last
            tree.step(phase_name, step)
            now = time.monotonic()
            if now - last >= _INTERVAL:
                last = now
                report(Progress(tree.fraction, phase_name))
            return True  # continue; a build is canceled by terminating its process

    return Monitor()
