"""The Triton server of the wheel ``nvidia-pytriton``, in an environment of its own, on addresses of this machine only."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patience import HANG

ROOT = Path(__file__).parents[2]
SERVER = "nvidia-pytriton==0.7.0"
# the Python backend of this server returns empty outputs with numpy 2, without an error
REQUIREMENTS = ["numpy<2", "onnxruntime<1.24", "opencv-python<4.12", "tritonclient[grpc,http]==2.73.0", "pillow"]


@dataclass(frozen=True)
class TritonEnvironment:
    """``python`` has adaptrt, adaptrt-triton and tritonclient."""

    folder: Path
    python: Path


@dataclass(frozen=True)
class Server:
    """``http`` and ``grpc``: host and port."""

    http: str
    grpc: str
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")


def unsupported() -> str:
    """Why the server cannot run here, whatever is installed; empty if it can."""
    if _uv() is None or not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        return "the server's wheel needs uv, and Linux on x86-64"
    library = sysconfig.get_config_var("LDLIBRARY") or ""
    if not library.endswith(".so") and ".so." not in library:
        return "Triton's Python backend needs a Python with a shared library"
    if sys.version_info >= (3, 14):
        return "the server has no Python backend for this version of Python"
    return ""


def _uv() -> str | None:
    return shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")


def make_environment(folder: Path) -> TritonEnvironment:
    """From nothing. A ``RuntimeError`` says what could not be installed."""
    python = folder / "bin" / "python"
    install = [_uv(), "pip", "install", "--quiet", "--python", python]
    for command in (
        [sys.executable, "-m", "venv", "--without-pip", folder],
        [*install, *REQUIREMENTS],
        [*install, "--no-deps", SERVER],  # what else it requires is for its own Python API
        [*install, ROOT, ROOT / "extensions" / "triton"],
    ):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command[-1]} cannot be installed: {done.stderr.strip()}")
    return TritonEnvironment(folder, python)


@contextmanager
def running_server(environment: TritonEnvironment, repository: Path) -> Iterator[Server]:
    """Start the server, wait until its models are ready, and end it afterwards."""
    ports = _free_ports(3)
    words = [f"--{name}-port={port}" for name, port in zip(("http", "grpc", "metrics"), ports, strict=True)]
    command = [environment.python, "-m", "adaptrt_triton.server", repository, *words]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    log = environment.folder / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(list(map(str, command)), env=variables, stdout=file, stderr=subprocess.STDOUT)
        server = Server(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", log)
        try:
            _wait_until_ready(process, server)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], server: Server) -> None:
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        assert process.poll() is None, server.log()
        try:
            with urllib.request.urlopen(f"http://{server.http}/v2/health/ready"):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError(server.log())


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
