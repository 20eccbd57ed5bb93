"""Progress on standard error: live on a terminal, lines elsewhere, nothing when quiet; in order however it ends."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from adaptrt.cli.progress import LineObserver, LiveObserver, choose_observer
from adaptrt.report import Stage

SHOW_CURSOR = "\x1b[?25h"


def terminal() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=100, highlight=False), out


def test_stages_stay_with_their_times_and_notes() -> None:
    console, out = terminal()
    with LiveObserver(console) as observer:
        observer.stage_started("passes")
        observer.stage_progress(1, 0, "how long is not known")
        observer.stage_progress(2, 5, "fold")
        observer.stage_finished(Stage("passes", 1.25, "[bold]262 nodes"))
        observer.warning("[red]rounded up")
    text = out.getvalue()
    assert "Rewrite the graph" in text
    assert "1.25 s" in text
    assert "[bold]262 nodes" in text
    assert "[red]rounded up" in text


@pytest.mark.parametrize("name", ["[/bad]", "[red]x"])
def test_names_of_steps_are_not_markup(name: str) -> None:
    console, out = terminal()
    with LiveObserver(console) as observer:
        observer.stage_started("passes")
        observer.stage_progress(1, 2, name)
        observer._progress.refresh()
    assert name in out.getvalue()


def test_the_terminal_is_in_order_after_an_error() -> None:
    console, out = terminal()

    def interrupted() -> None:
        with LiveObserver(console) as observer:
            observer.stage_started("export")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert out.getvalue().count("\x1b[?25l") == 1
    assert SHOW_CURSOR in out.getvalue().rpartition("\x1b[?25l")[2]


def test_a_line_for_each_stage_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with choose_observer(quiet=False) as observer:
        assert isinstance(observer, LineObserver)
        observer.stage_started("export")
        observer.stage_finished(Stage("export", 1.5))
        observer.warning("rounded up")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split() for line in err.splitlines()] == [
        ["Export", "to", "ONNX", "1.50", "s"],
        ["Warning:", "rounded", "up"],
    ]


def test_quiet_is_quiet_but_for_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with choose_observer(quiet=True) as observer:
        observer.stage_finished(Stage("export", 1.5))
        observer.warning("rounded up")
    assert capsys.readouterr().err == "Warning: rounded up\n"
