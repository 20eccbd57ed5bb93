"""How a conversion reports what it does; library code itself never prints."""

from __future__ import annotations

from adaptrt.report import Report, Stage


class Observer:
    """Receives what happens during a conversion or a build: ``adaptrt.convert(..., observer=...)``.

    Every method is a no-op: derive a class, and override what is of interest. Calls come from the thread that converts.
    """

    def stage_started(self, name: str) -> None:
        """A stage begins."""

    def stage_progress(self, done: int, total: int, text: str = "") -> None:
        """A step of the current stage is done."""

    def stage_finished(self, stage: Stage) -> None:
        """A stage ended well; its time and note are known."""

    def warning(self, text: str) -> None:
        """Something the user should know, that does not stop the conversion."""

    def detail(self, text: str) -> None:
        """Something for whoever asked for more (``-v``)."""

    def finished(self, report: Report) -> None:
        """The conversion ended, well or not (``report.status``)."""
