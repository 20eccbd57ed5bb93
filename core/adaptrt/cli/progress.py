"""Progress of a conversion on standard error: live on a terminal, otherwise one line per stage."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

from adaptrt.cli.output import echo
from adaptrt.pipeline.observer import Observer
from adaptrt.rendering.formatting import stage_title

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from adaptrt.report import Report, Stage


def choose_observer(*, quiet: bool) -> AbstractContextManager[Observer]:
    """Quiet, live or line by line; a context manager that always restores the terminal."""
    if quiet:
        return nullcontext(QuietObserver())
    from adaptrt.rendering.terminal import stderr_console

    console = stderr_console()
    return LiveObserver(console) if console.is_terminal else nullcontext(LineObserver())


class QuietObserver(Observer):
    """Warnings only."""

    def warning(self, text: str) -> None:
        echo(f"Warning: {text}", err=True)

    def detail(self, text: str) -> None:
        echo(text, err=True)


class LineObserver(QuietObserver):
    """One line per finished stage, for logs and pipes."""

    def stage_finished(self, stage: Stage) -> None:
        echo(f"{stage_title(stage.name):<34} {stage.seconds:7.2f} s  {stage.note}".rstrip(), err=True)


class LiveObserver(Observer, AbstractContextManager["LiveObserver"]):
    """Finished stages with their times, then the current one, with a progress bar if the number of steps is known."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = console
        self._progress: Progress = Progress(
            SpinnerColumn(style="cyan"),
            TextColumn("{task.description:<34}"),
            TimeElapsedColumn(),
            BarColumn(bar_width=24),
            TextColumn("[dim]{task.fields[text]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveObserver:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_task()
        self._progress.stop()

    def stage_started(self, name: str) -> None:
        self._end_task()
        self._task = self._progress.add_task(stage_title(name), total=None, text="")

    def stage_progress(self, done: int, total: int, text: str = "") -> None:
        from rich.markup import escape

        if self._task is not None:
            text = escape(text)
            self._progress.update(self._task, completed=done, total=total or None, text=text)  # 0: not known

    def stage_finished(self, stage: Stage) -> None:
        from rich.text import Text

        self._end_task()
        line = Text.assemble(
            ("✓ " if self._console.encoding.lower().startswith("utf") else "  ", "green"),
            f"{stage_title(stage.name):<34}",
            (f"{stage.seconds:7.2f} s  ", "cyan"),
            (stage.note, "dim"),
        )
        self._console.print(line)

    def warning(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.assemble(("Warning: ", "yellow"), text))

    def detail(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text, style="dim"))

    def finished(self, report: Report) -> None:  # noqa: ARG002
        self._end_task()

    def _end_task(self) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


class Bars:
    """A progress bar for each title on a terminal; otherwise nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._update: Callable[[str, int, int], None] | None = None

    def __enter__(self) -> Bars:
        if not self._quiet:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            from adaptrt.rendering.terminal import stderr_console

            console = stderr_console()
            if console.is_terminal:
                self._progress = Progress(
                    TextColumn("{task.description}", markup=False),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(),
                    console=console,
                    transient=True,
                )
                self._progress.start()
                tasks = {}

                def update(title: str, done: int, total: int) -> None:
                    if title not in tasks:
                        tasks[title] = self._progress.add_task(title, total=total)
                    self._progress.update(tasks[title], completed=done)

                self._update = update
        return self

    def __exit__(self, *_: object) -> None:
        if self._update is not None:
            self._progress.stop()

    def __call__(self, title: str, done: int, total: int) -> None:
        if self._update is not None:
            self._update(title, done, total)
