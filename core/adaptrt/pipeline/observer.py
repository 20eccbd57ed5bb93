"""How a conversion reports progress; library code itself never prints."""

from __future__ import annotations

from adaptrt.report import Report, Stage


class Observer:
    """Receives the events of a conversion or a build: ``adaptrt.convert(..., observer=...)``.

    Every method is a no-op; override those you need. They are called from the thread that converts.
    """

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, done: int, total: int, text: str = "") -> None:
        """A step of the current stage is done."""

    def stage_finished(self, stage: Stage) -> None:
        """A stage succeeded; its time and note are known."""

    def warning(self, text: str) -> None:
        """A warning for the user; the conversion continues."""

    def detail(self, text: str) -> None:
        """A detail for verbose output (``-v``)."""

    def finished(self, report: Report) -> None:
        """The conversion succeeded or failed (``report.status``)."""
