"""How a conversion reports progress; library code itself never prints."""

from __future__ import annotations

import logging

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


class LoggingObserver(Observer):
    """Logs the events of a job to the logger ``adaptrt``, then passes them on. Nothing is printed unless the application
    configures logging."""

    def __init__(self, inner: Observer) -> None:
        self._inner = inner
        self._logger = logging.getLogger("adaptrt")
        if not any(isinstance(handler, logging.NullHandler) for handler in self._logger.handlers):
            self._logger.addHandler(logging.NullHandler())

    def stage_started(self, name: str) -> None:
        self._logger.debug("stage %s started", name)
        self._inner.stage_started(name)

    def stage_progress(self, done: int, total: int, text: str = "") -> None:
        self._inner.stage_progress(done, total, text)

    def stage_finished(self, stage: Stage) -> None:
        self._logger.info("stage %s: %.2f s%s", stage.name, stage.seconds, f", {stage.note}" if stage.note else "")
        self._inner.stage_finished(stage)

    def warning(self, text: str) -> None:
        self._logger.warning("%s", text)
        self._inner.warning(text)

    def detail(self, text: str) -> None:
        self._logger.debug("%s", text)
        self._inner.detail(text)

    def finished(self, report: Report) -> None:
        for record in report.files.values():
            word = f", {record.verdict.word}" if record.verdict is not None else ""
            self._logger.info("wrote %s, %d bytes%s", record.path, record.bytes, word)
        self._inner.finished(report)
