"""What is silent during an export: the exporters, not the other threads of the program."""

from __future__ import annotations

import logging
import sys
import threading

import pytest
from patience import HANG

pytest.importorskip("torch", reason="its exporters are silenced")

from adaptrt.export.quiet import quiet


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stderr.write(f"{text}\n")
    logging.getLogger("program").error(text)


def say_in_thread(text: str) -> None:
    thread = threading.Thread(target=say, args=(text,))
    thread.start()
    thread.join(HANG)


def test_only_this_thread_is_silent(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        say("exporter")
        say_in_thread("server")
        kept = sys.stderr
        logging.getLogger("program").critical("out of memory")
    say("after")
    kept.write("kept\n")
    found = capsys.readouterr()
    assert found.out == "server\nafter\n"
    assert found.err == "server\nafter\nkept\n"
    assert [record.getMessage() for record in caplog.records] == ["server", "out of memory", "after"]


def test_a_program_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with quiet():
        say("exporter")
        say_in_thread("server")
    assert sys.stdout is None
