"""Options from the environment: what a variable means, what replaces it, and what none may do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from command_tree import command_of, leaves

from adaptrt.batch.commands import run_processes
from adaptrt.cli.convert import convert
from adaptrt.cli.given import arguments
from adaptrt.cli.request import request_from_flags
from adaptrt.cli.variables import TYPED_ONLY
from adaptrt.errors import UsageError
from adaptrt.request import Request
from adaptrt.specs.executors import Command, CommandLimits


def requested(*words: str) -> Request:
    """The request of ``adaptrt convert WORDS``; its command has the arguments that are in effect."""
    with convert.make_context("convert", ["best.pt", "--adapter", "tiny", *words]) as ctx:
        flags = {name: value for name, value in ctx.params.items() if name not in ("dry_run", "trace_plugins")}
        return request_from_flags(flags, command=" ".join(arguments(ctx)))


def test_values_switches_and_lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_IMGSZ", "320")
    monkeypatch.setenv("ADAPTRT_CONVERT_DIAGNOSE", "1")
    monkeypatch.setenv("ADAPTRT_CONVERT_SIMPLIFY", "0")
    monkeypatch.setenv("ADAPTRT_CONVERT_EMBED_PREPROCESS", "0")
    monkeypatch.setenv("ADAPTRT_CONVERT_KEEP_FP32", "/head/.* 'a b'")
    monkeypatch.setenv("ADAPTRT_CONVERT_NMS", "onnx")
    monkeypatch.setenv("ADAPTRT_CONVERT_VERBOSE", "2")
    monkeypatch.setenv("ADAPTRT_CONVERT_OUTPUT", "")
    found = requested()
    assert found.shapes.imgsz == (320, 320)
    assert (found.diagnose, found.simplify, found.embed_preprocess) == (True, False, False)
    assert found.keep_fp32 == ("/head/.*", "a b")
    assert found.nms is not None
    assert found.nms.kind == "onnx"
    assert found.output is None
    assert "--imgsz=320" in found.command
    assert "--verbose --verbose" in found.command
    assert "From the environment: --diagnose --imgsz=320 '--keep-fp32=/head/.*'" in capsys.readouterr().err


def test_the_command_line_replaces_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_IMG_SIZE", "320")
    monkeypatch.setenv("ADAPTRT_CONVERT_SIMPLIFY", "0")
    monkeypatch.setenv("ADAPTRT_CONVERT_PRECISION", "bf16")
    monkeypatch.setenv("ADAPTRT_CONVERT_SET", "conf=0.4")
    found = requested("--imgsz", "640", "--simplify", "--fp16", "-s", "iou=0.6")
    assert found.shapes.imgsz == (640, 640)
    assert found.simplify
    assert found.precision == "fp16"
    assert found.options == {"iou": "0.6"}
    assert "320" not in found.command


def test_a_variable_replaces_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "conversion.toml"
    path.write_text('imgsz = "96"\nbatch = 4\n')
    monkeypatch.setenv("ADAPTRT_CONVERT_CONFIG", str(path))
    monkeypatch.setenv("ADAPTRT_CONVERT_IMGSZ", "320")
    found = requested()
    assert found.shapes.imgsz == (320, 320)
    assert found.shapes.batch is not None
    assert found.shapes.batch.max == 4


def test_a_precision_switch_replaces_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "conversion.toml"
    path.write_text('precision = "fp16"\n')
    monkeypatch.setenv("ADAPTRT_CONVERT_BF16", "1")
    assert requested("--config", str(path)).precision == "bf16"
    assert requested("--config", str(path), "--fp32").precision == "fp32"


def test_code_in_a_file_must_be_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable does not allow code from a file: both may come from the same place."""
    path = tmp_path / "conversion.toml"
    path.write_text('[set]\nx = "net.py"\n')
    monkeypatch.setenv("ADAPTRT_CONVERT_OUTPUT", "x=net.py")
    with pytest.raises(UsageError, match="names code"):
        requested("--config", str(path))
    assert requested("--config", str(path), "--set=x=net.py").options == {"x": "net.py"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONVERT_IMGZS", "640", "ADAPTRT_CONVERT_IMGZS does not match any option of convert"),
        ("CONVERT_SOURCE", "x.pt", "does not match any option"),
        ("CONVERT_DIAGNOSE", "yes", "ADAPTRT_CONVERT_DIAGNOSE must be 1 or 0; got 'yes'"),
        ("CONVERT_VERBOSE", "much", "must be a number from 0 to 9"),
        ("CONVERT_SET", "'conf=0.4", "ADAPTRT_CONVERT_SET is not a list of words"),
        ("CONVERT_IMGSZ", "6\udcff", "not valid UTF-8"),
        ("CONVERT_SET", "config=net.py", "names code, 'config=net.py'"),
        ("CONVERT_SET", "'config= net.py '", "names code"),
        ("CONVERT_WEIGHTS", "net.py:weights", "names code"),
    ],
)
def test_an_invalid_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(f"ADAPTRT_{name}", value)
    with pytest.raises(UsageError) as caught:
        requested()
    assert message in caught.value.message
    assert caught.value.hint


def test_a_value_of_the_wrong_type_is_named_by_its_variable(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_OPSET", "new")
    result = adaptrt("convert", "best.pt")
    assert result.code == 2
    assert (
        "Invalid value for ADAPTRT_CONVERT_OPSET (an environment variable): 'new' is not a valid integer" in result.err
    )


def test_two_names_of_an_option_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_IMGSZ", "640")
    monkeypatch.setenv("ADAPTRT_CONVERT_IMG_SIZE", "320")
    with pytest.raises(UsageError, match="ADAPTRT_CONVERT_IMGSZ and ADAPTRT_CONVERT_IMG_SIZE set the same option"):
        requested()


@pytest.mark.parametrize("name", sorted(TYPED_ONLY & {name for one in convert.params for name in one.opts}))
def test_no_variable_trusts_a_file_or_names_code(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variable = f"ADAPTRT_CONVERT_{name[2:].replace('-', '_').upper()}"
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UsageError, match=f"{name} is accepted only on the command line"):
        requested()


def test_every_option_that_names_code_is_known() -> None:
    options = [one for name in leaves() for one in command_of(name).params if isinstance(one, click.Option)]
    assert {name for one in options for name in one.opts} >= TYPED_ONLY
    for one in options:
        text = f"{one.opts} {one.help or ''}"
        if one.metavar == "LIB" or any(
            word in text for word in ("trust", "host code.", "modules are loaded", "names code")
        ):
            assert {*one.opts} & TYPED_ONLY or one.opts == ["--version-compatible"], one.opts


def test_groups_and_dashes(adaptrt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAPTRT_NEW_ADAPTER_TASK", "detect")
    monkeypatch.setenv("ADAPTRT_NEW_ADAPTER_OUTPUT", str(tmp_path / "here"))
    assert adaptrt("new-adapter", "shop").code == 0
    assert "detect" in "".join(path.read_text() for path in (tmp_path / "here").rglob("*.py"))
    monkeypatch.setenv("ADAPTRT_CACHE_SIZE", "1G")
    monkeypatch.setenv("ADAPTRT_CACHE_PRUNE_OLDER_THAN", "nonsense")
    result = adaptrt("cache", "prune")
    assert result.code == 2
    assert "nonsense" in result.err


def test_json_and_debug_reach_the_message(adaptrt: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTRT_INSPECT_JSON", "1")
    monkeypatch.setenv("ADAPTRT_INSPECT_DEBUG", "1")
    result = adaptrt("inspect", tmp_path / "missing.onnx")
    assert json.loads(result.out)["error"]["exit_code"] == result.code != 0
    assert "Traceback" in result.err
    monkeypatch.setenv("ADAPTRT_INSPECT_DEBUG", "maybe")
    assert "ADAPTRT_INSPECT_DEBUG must be 1 or 0" in adaptrt("inspect", tmp_path / "missing.onnx").err


def test_help_does_not_depend_on_the_environment(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_NONSENSE", "1")
    result = adaptrt("convert", "--help")
    assert (result.code, result.err) == (0, "")
    assert adaptrt("convert", "best.pt").code == 2


def test_quiet_does_not_list_them(adaptrt: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTRT_ADAPTERS_QUIET", "1")
    assert "environment" not in adaptrt("adapters").err


def test_conversions_of_a_sweep_do_not_see_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ADAPTRT_CONVERT_IMGSZ", "320")
    monkeypatch.setenv("ADAPTRT_CACHE_DIR", str(tmp_path))
    program = "import os; print([name for name in os.environ if name.startswith('ADAPTRT_')])"
    command = Command(name="a", words=(sys.executable, "-c", program), output=tmp_path / "out", log=tmp_path / "log")
    (result,) = run_processes([command], CommandLimits())
    assert result.code == 0
    assert (tmp_path / "out").read_text().strip() == "['ADAPTRT_CACHE_DIR']"
