"""``python -m adaptrt_triton.server``, with a program in place of the server; test_server.py runs it with Triton."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from patience import HANG, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the wheel is for Linux")
SERVER = f"""#!{sys.executable} -S
import json, os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
backends = sys.argv[2].partition("=")[2]
stub = backends + "/python/triton_python_backend_stub"
found = {{"words": sys.argv[1:], "variables": dict(os.environ), "stub": open(stub).read(), "runs": os.access(stub, os.X_OK)}}
open("found.aside", "w").write(json.dumps(found))
os.rename("found.aside", "found.json")
time.sleep(600)
"""


def wheel(folder: Path, *, numpy: str = "1.26.4", python: str | None = None) -> Path:
    """What the wheel ``nvidia-pytriton`` and numpy install, without its contents; programs are not executable."""
    version = python or f"{sys.version_info[0]}.{sys.version_info[1]}"
    server = folder / "pytriton" / "tritonserver"
    for path, text in {
        folder / "pytriton" / "__init__.py": "raise AssertionError('imported')",
        folder / f"numpy-{numpy}.dist-info" / "METADATA": f"Metadata-Version: 2.1\nName: numpy\nVersion: {numpy}\n",
        server / "bin" / "tritonserver": SERVER,
        server / "backends" / "python" / "libtriton_python.so": "",
        server / "python_backend_stubs" / version / "triton_python_backend_stub": "stub",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def start(folder: Path, *words: object) -> subprocess.Popen[str]:
    (folder / "repository").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "adaptrt_triton.server", "repository", *map(str, words)]
    variables = {**os.environ, "PYTHONPATH": str(folder), "TMPDIR": str(folder / "temporary")}
    (folder / "temporary").mkdir(exist_ok=True)
    return subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(".so" not in (sysconfig.get_config_var("LDLIBRARY") or ""), reason="needs a shared libpython")
def test_the_server_gets_addresses_of_this_machine_and_ends_with_the_program(tmp_path: Path) -> None:
    process = start(wheel(tmp_path), "--http-port", 18000)
    result = tmp_path / "found.json"
    wait_until(lambda: result.exists() or process.poll() is not None, "the server starts")
    assert process.poll() is None, process.communicate()[1]
    found: dict[str, Any] = json.loads(result.read_text())
    assert found["words"][0] == "--model-repository=repository"
    for name, port in (("http", 18000), ("grpc", 8001), ("metrics", 8002)):
        assert f"--{name}-address=127.0.0.1" in found["words"]
        assert f"--{name}-port={port}" in found["words"]
    assert (found["stub"], found["runs"]) == ("stub", True)
    variables = found["variables"]
    assert variables["PATH"].startswith(str(Path(sys.executable).parent))
    assert variables["LD_LIBRARY_PATH"].startswith(
        f"{tmp_path / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}"
    )
    assert "PYTHONPATH" not in variables
    process.send_signal(signal.SIGTERM)
    assert process.wait(HANG) == 7
    assert not list((tmp_path / "temporary").iterdir())


ENDED_WHILE_IT_STARTS = """
import os, signal, subprocess, sys, time
from adaptrt_triton import server

class Popen(subprocess.Popen):
    def __init__(self, *values, **named):
        super().__init__(*values, **named)
        while not os.path.exists("found.json"):
            time.sleep(0.01)
        os.kill(os.getpid(), int(sys.argv[1]))

subprocess.Popen = Popen
sys.exit(server.main(["repository"]))
"""


@pytest.mark.skipif(".so" not in (sysconfig.get_config_var("LDLIBRARY") or ""), reason="needs a shared libpython")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_ends_while_the_server_starts_ends_it(tmp_path: Path, number: int) -> None:
    wheel(tmp_path)
    (tmp_path / "repository").mkdir()
    words = [sys.executable, "-c", ENDED_WHILE_IT_STARTS, str(int(number))]
    assert subprocess.run(words, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, timeout=HANG).returncode == 7  # fmt: skip


@pytest.mark.parametrize(
    ("made", "code", "said"),
    [
        ({}, 3, "nvidia-pytriton, whose wheel contains Triton, is not installed."),
        ({"numpy": "2.4.6"}, 3, "returns empty outputs with numpy 2.4.6"),
        ({"python": "3.6"}, 3, "Use Python 3.6."),
    ],
    ids=["no wheel", "numpy", "python"],
)
def test_what_is_missing_is_named(made: dict[str, Any], code: int, said: str, tmp_path: Path) -> None:
    process = start(wheel(tmp_path, **made) if made else tmp_path)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == code
    assert said in errors
    assert errors.startswith("Error: ")
