"""Run a model repository on this machine, for trying it out, with the Triton of the wheel ``nvidia-pytriton``.

::

    python -m adaptrt_triton.server model_repository/ [--http-port 8000] [--grpc-port 8001] [--metrics-port 8002]

It listens on 127.0.0.1 only, until Ctrl-C or SIGTERM. The wheel needs a separate environment: see the README.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata, util
from pathlib import Path

from adaptrt import AdaptrtError, DependencyError, UsageError

NAMES = ("http", "grpc", "metrics")
STARTED = 300
"""Seconds that a process of the Python backend may take to start; Triton's 30 are too few on a busy machine."""
INSTALL = "In a separate environment: pip install --no-deps nvidia-pytriton==0.7.0, then pip install 'numpy<2'"


def find_server() -> Path:
    """The folder of the server in the wheel. Raises a ``DependencyError`` if it cannot run in this environment."""
    found = util.find_spec("pytriton")
    places = list(found.submodule_search_locations or ()) if found else []
    folder = Path(places[0]) / "tritonserver" if places else None
    if folder is None or not (folder / "bin" / "tritonserver").is_file():
        raise DependencyError("nvidia-pytriton, whose wheel contains Triton, is not installed.", hint=INSTALL)
    if int(metadata.version("numpy").partition(".")[0]) > 1:
        raise DependencyError(
            f"The Python backend of this Triton returns empty outputs with numpy {metadata.version('numpy')}.",
            hint=INSTALL,
        )
    return folder


def libraries() -> str:
    """The folder of Python's shared library, which Triton's Python backend loads."""
    name, place = sysconfig.get_config_var("LDLIBRARY") or "", sysconfig.get_config_var("LIBDIR") or ""
    if not name.endswith(".so") and ".so." not in name:
        raise DependencyError(
            "Triton's Python backend needs a Python with a shared library.", hint="Use another Python."
        )
    return place


def copy_backends(server: Path, folder: Path) -> Path:
    """The backends of the server, with the stub for this version of Python."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    stub = server / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.is_file():
        made = sorted(path.name for path in (server / "python_backend_stubs").glob("3.*"))
        raise DependencyError(
            f"This Triton has no Python backend for Python {version}.", hint=f"Use Python {', '.join(made)}."
        )
    backends = folder / "backends"
    shutil.copytree(server / "backends", backends)
    for source, target in (
        (stub, backends / "python" / stub.name),
        (server / "bin" / "tritonserver", folder / "tritonserver"),
    ):
        shutil.copyfile(source, target)
        target.chmod(0o755)  # the wheel does not keep it
    return backends


def command_of(server: Path, backends: Path, repository: Path, ports: Mapping[str, int]) -> list[str]:
    """On addresses of this machine; without them, Triton listens on all."""
    return [
        str(backends.parent / "tritonserver"),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--cache-directory={server / 'caches'}",
        "--allow-gpu-metrics=false",
        f"--backend-config=python,stub-timeout-seconds={STARTED}",
        *(f"--{name}-address=127.0.0.1" for name in NAMES),
        *(f"--{name}-port={ports[name]}" for name in NAMES),
    ]


def environment_of(server: Path) -> dict[str, str]:
    """The Python backend takes the ``python3`` that is first on the path, and ignores ``PYTHONPATH``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    own = [str(server.parents[1] / "nvidia_pytriton.libs"), libraries()]
    before = [kept["LD_LIBRARY_PATH"]] if kept.get("LD_LIBRARY_PATH") else []
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "LD_LIBRARY_PATH": os.pathsep.join([*own, *before]), "PATH": path}


def run(repository: Path, ports: Mapping[str, int]) -> int:
    """Run the server until it ends or is asked to; its exit code."""
    if not repository.is_dir():
        raise UsageError(f"{repository} is not a folder.", hint="Write a repository with adaptrt package triton.")
    server = find_server()
    with tempfile.TemporaryDirectory() as folder:
        backends = copy_backends(server, Path(folder))
        command, environment = command_of(server, backends, repository, ports), environment_of(server)
        started: list[subprocess.Popen[bytes]] = []
        asked: list[int] = []  # an Event has a lock, which a second signal would wait for

        def end(number: int, _: object) -> None:
            asked.append(number)
            for process in started:
                process.terminate()

        for number in (signal.SIGINT, signal.SIGTERM):  # before the server exists: it would be left behind
            signal.signal(number, end)
        started.append(subprocess.Popen(command, env=environment))
        if asked:
            started[0].terminate()
        return started[0].wait()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path)
    for name, port in zip(NAMES, (8000, 8001, 8002), strict=True):
        parser.add_argument(f"--{name}-port", type=int, default=port, metavar="N")
    options = vars(parser.parse_args(words))
    try:
        return run(options["repository"], {name: options[f"{name}_port"] for name in NAMES})
    except AdaptrtError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
