"""``--log-file``, and what the library logs."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

import adaptrt as package
from adaptrt.errors import OutputError


def test_a_conversion_is_logged_with_its_command(adaptrt: Any, tiny: str) -> None:
    words = ("convert", "detector", "-a", tiny, "--verify", "quick", "--no-cache", "--log-file", "run.log")
    assert adaptrt(*words).code == 0
    assert adaptrt(*words, "--quiet").code == 0
    lines = Path("run.log").read_text().splitlines()
    assert sum("INFO adaptrt convert detector -a tiny" in line for line in lines) == 2
    assert sum("INFO stage export:" in line for line in lines) == 2
    assert any("INFO wrote detector.onnx" in line for line in lines)
    assert not logging.getLogger("adaptrt").level
    assert not [one for one in logging.getLogger("adaptrt").handlers if isinstance(one, logging.FileHandler)]


def test_an_error_is_logged(adaptrt: Any, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    result = adaptrt("inspect", "missing.onnx", "--log-file", log)
    assert result.code != 0
    (error,) = [line for line in log.read_text().splitlines() if " ERROR " in line]
    assert error.partition(" ERROR ")[2].split()[0] in result.err


def test_a_log_file_that_cannot_be_written_is_an_error(adaptrt: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = tmp_path / "file" / "folder" / "run.log"
    result = adaptrt("inspect", "missing.onnx", "--log-file", log)
    assert result.code == OutputError.exit_code
    assert f"--log-file {log} cannot be written" in result.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_log_on_a_full_disk_does_not_end_the_command(adaptrt: Any) -> None:
    result = adaptrt("adapters", "--log-file", "/dev/full")
    assert result.code == 0
    assert result.err == "Warning: the log full is incomplete: it cannot be written: No space left on device.\n"


def test_the_folder_of_a_log_file_is_created(adaptrt: Any, tmp_path: Path) -> None:
    log = tmp_path / "new" / "folder" / "run.log"
    adaptrt("inspect", "missing.onnx", "--log-file", log)
    assert "inspect missing.onnx" in log.read_text()


def test_the_library_logs_and_prints_nothing(
    tiny: str, image: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "adaptrt"):
        package.convert("detector", adapter=tiny, verify="quick", html=False, cache=False)
    assert any(record.getMessage().startswith("stage export") for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_only_the_commands_write_to_standard_output() -> None:
    """``print`` is ruff's T20; these are the other ways. A child that builds an engine reports to its parent."""
    folder = Path(package.__file__).parent
    direct = re.compile(r"sys\.(__)?stdout(__)?\.write|click\.echo|sys\.(__)?stderr(__)?\.write|logging\.basicConfig")
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if path.relative_to(folder).parts[0] != "cli" and direct.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"pipeline/configure.py"}
