"""Whatever goes wrong: one clear line, the next step, the exit code of its kind, and no traceback unless asked for."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from patience import HANG

from adaptrt import errors
from adaptrt.cli.boundary import run
from adaptrt.report import Check, Report


def failing(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--json", is_flag=True)
    @click.option("--debug", is_flag=True)
    def command(**_: Any) -> None:
        raise error

    return command


ERRORS = [
    (errors.UsageError, 2), (errors.ShapeError, 2), (errors.SettingsError, 2), (errors.OutputError, 2),
    (errors.PluginError, 3), (errors.DependencyError, 3), (errors.ModelError, 4), (errors.CheckpointError, 4),
    (errors.ImageError, 4), (errors.PatchError, 5), (errors.ExportError, 6), (errors.GraphError, 7),
    (errors.BuildError, 8), (errors.EngineError, 8), (errors.VerificationError, 9),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), ERRORS)
def test_an_error_of_the_tree_is_a_line_and_its_exit_code(
    kind: type[errors.AdaptrtError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(kind("It broke.", hint="Mend it.")), [], "adaptrt") == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", "Error: It broke.\nMend it.\n")


def test_every_class_of_the_tree_is_covered() -> None:
    tree = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AdaptrtError)}
    assert {kind for kind, _ in ERRORS} == tree - {errors.AdaptrtError}


def test_json_has_the_error_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(errors.ExportError("No <é>.", hint=None)), ["--json"], "adaptrt") == 6
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "version": 1,
        "status": "failed",
        "error": {"kind": "ExportError", "message": "No <é>.", "hint": None, "exit_code": 6},
    }
    assert err == "Error: No <é>.\n"


def report_of_failure() -> errors.VerificationError:
    error = errors.VerificationError("Link 2 fails.", hint="Look.")
    error.report = Report("tiny", "x", "adaptrt convert x", status="failed")
    error.report.link(2).status = "failed"
    error.report.link(2).checks.append(Check("output0: scores", "scores", 0.31, 1e-4, passed=False))
    return error


def test_a_failed_verification_shows_its_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(report_of_failure()), [], "adaptrt") == 9
    out, err = capsys.readouterr()
    assert out == ""
    assert "output0: scores" in err
    assert "0.31" in err
    assert "≤ 0.0001" in err


def test_json_of_a_failed_conversion_is_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(report_of_failure()), ["--json"], "adaptrt") == 9
    found = json.loads(capsys.readouterr().out)
    assert found["error"]["kind"] == "VerificationError"
    assert found["links"][2]["checks"][0]["value"] == 0.31


def test_a_bug_is_one_line_and_a_traceback_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(ZeroDivisionError("x / 0")), [], "adaptrt") == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: internal error: ZeroDivisionError: x / 0\n")
    assert "--debug" in err
    assert "Traceback" not in err
    assert run(failing(ZeroDivisionError("x / 0")), ["--debug"], "adaptrt") == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_debug_shows_the_cause_too(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.ModelError("Cannot load.")
    error.__cause__ = KeyError("weights")
    assert run(failing(error), ["--debug"], "adaptrt") == 4
    assert "KeyError: 'weights'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("convrt", "x.pt"), "Unknown command 'convrt'. Did you mean 'convert'?"),
        (("convert", "x.pt", "--adaptr", "yolo"), "--adapter"),
        (("convert",), "SOURCE"),
        (("convert",), "For example: adaptrt convert best.pt --image street.jpg (see: adaptrt convert --help)"),
        (("convert", "--adapter", "yolov5"), "For example: adaptrt convert best.pt --image street.jpg"),
        (
            ("convert", "--nms", "best.pt"),
            "Missing argument 'SOURCE'. 'best.pt' was read as the value of --nms: place --nms after the arguments.",
        ),
        (("predict", "x.onnx"), "SOURCES"),
        (("evaluate", "x.onnx"), "--data"),
        (("inspect",), "FILE"),
        (("completion",), "Missing argument '{bash|zsh|fish}'. Choose from: bash, zsh, fish\n"),
    ],
)
def test_wrong_usage_exits_2_and_points_to_the_help(adaptrt: Any, words: tuple[str, ...], message: str) -> None:
    result = adaptrt(*words)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("Error: ")
    assert message in result.err
    assert "--help" in result.err
    assert result.err.count("\n") == 2


def test_no_words_show_the_help() -> None:
    done = python("from adaptrt.cli.main import main; raise SystemExit(main())")
    assert done.returncode == 0
    assert "Usage: adaptrt [OPTIONS] COMMAND" in done.stdout


def python(code: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, **options)


# a shell that runs the tests in the background lets them ignore SIGINT, nohup lets them ignore SIGHUP, and their
# children with them
SLOW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import click
from pathlib import Path
from adaptrt.cli.boundary import run

@click.command()
@click.option("--json", is_flag=True)
def command(json):
    part = Path("half.part")
    part.touch()
    try:
        print("started", flush=True)
        sys.stdin.read()  # until the test ends
    finally:
        part.unlink()

sys.exit(run(command, sys.argv[1:], "adaptrt"))
"""


@pytest.mark.parametrize(
    ("number", "code", "message"),
    [
        (signal.SIGINT, 130, "Interrupted"),
        (signal.SIGTERM, 143, "Terminated by SIGTERM"),
        (signal.SIGHUP, 129, "Terminated by SIGHUP"),
    ],
)
def test_signals_clean_up(number: signal.Signals, code: int, message: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    process.wait(HANG)
    out, err = process.communicate()
    assert (process.returncode, out, err.strip()) == (code, "", message)
    assert not (tmp_path / "half.part").exists()


def test_an_ignored_hangup_stays_ignored() -> None:
    code = (
        "import signal, sys, os, click\nfrom adaptrt.cli.boundary import run\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "command = click.Command('x', callback=lambda: os.kill(os.getpid(), signal.SIGHUP))\n"
        "sys.exit(run(command, [], 'x'))"
    )
    assert python(code).returncode == 0


def test_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    assert run(click.Command("x", callback=lambda: None), [], "x") == 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_leaves_is_no_error() -> None:
    code = (
        "import sys, click\nfrom adaptrt.cli.boundary import run\n"
        "command = click.Command('x', callback=lambda: [click.echo('x' * 100) for _ in range(10000)])\n"
        "sys.exit(run(command, [], 'x'))"
    )
    read, write = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.read(read, 100)
    os.close(read)
    _, err = process.communicate(timeout=HANG)
    assert err == ""
    assert process.returncode == 141  # 128 + SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("adapters",), ("adapters", "--json"), ("doctor",), ("--help",)])
def test_a_full_standard_output_is_a_separate_error(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "adaptrt", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Standard output cannot be written: No space left on device.")
    assert "Traceback" not in done.stderr


def test_an_exception_in_the_code_of_another_distribution(
    fake_distribution: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = "def describe(prediction):\n    return prediction.nope\n"
    fake_distribution("acme-task", {"adaptrt.tasks": {"acme": "acme_task:task"}}, modules={"acme_task": source})

    @click.command()
    def draws() -> None:
        importlib.import_module("acme_task").describe(3)

    assert run(draws, [], "adaptrt") == 3
    assert capsys.readouterr().err == (
        "Error: acme-task failed: AttributeError: 'int' object has no attribute 'nope'\n"
        "Raised at 0/acme_task.py:2. Use --debug to show the full traceback.\n"
    )


def test_a_closed_standard_output_is_no_internal_error() -> None:
    command = [sys.executable, "-m", "adaptrt", "adapters"]
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.ModelError("\x1b]0;owned\x07\x9b31m\u202eends\rhere", hint="a\tb\nc \ud800")
    assert run(failing(error), ["--json", "--debug"], "adaptrt") == 4
    out, err = capsys.readouterr()
    assert "\\x1b]0;owned\\x07\\x9b31m\\u202eends\\x0dhere\na\tb\nc \\ud800\n" in err
    assert json.loads(out)["error"]["message"] == error.message
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(out + err)


@pytest.mark.parametrize(
    ("word", "said"), [("a\0b", "contains a NUL character"), ("a\udc80", "is not valid UTF-8 text")]
)
def test_arguments_that_are_no_text(word: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(failing(AssertionError("never called")), [word], "adaptrt") == 2
    assert said in capsys.readouterr().err


def test_a_terminal_without_the_signs_gets_question_marks() -> None:
    code = (
        "import sys, click\nfrom adaptrt.cli.boundary import run\n"
        "sys.exit(run(click.Command('x', callback=lambda: print('a ≤ b')), [], 'x'))"
    )
    done = python(code, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "a ? b\n", "")


def test_no_color_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    run(failing(errors.ModelError("It broke.")), [], "adaptrt")
    assert "\x1b" not in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    """For an environment whose scripts are not on the path."""
    done = subprocess.run([sys.executable, "-m", "adaptrt", "no-such"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Unknown command 'no-such'")
    assert "adaptrt --help" in done.stderr


def test_libraries_do_not_print_beside_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV and FFmpeg report a missing camera or a damaged video themselves unless these are set before they are loaded."""
    from adaptrt.cli import main

    monkeypatch.setattr(main, "run", lambda *_: 0)
    monkeypatch.setattr(os, "environ", {"OPENCV_FFMPEG_LOGLEVEL": "56"})
    main.main()
    assert os.environ == {"OPENCV_FFMPEG_LOGLEVEL": "56", "OPENCV_LOG_LEVEL": "SILENT"}  # the user's own stays
