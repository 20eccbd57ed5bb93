"""Run the cases of one module, each in a fork of its own: ``run_cases.py MODULE FOLDER NAMES...``: a line of JSON for each in FOLDER/outcomes.

A fork keeps what frameworks cost to import, and gives a crash, a hang or a memory hog to its case alone.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from hostile.case import CANARY, Case, convert
from hostile.graphs import INSPECT, LINT, PREDICT, SPEC, model
from hostile.pickles import model_with, zipped
from patience import HANG

_CALLS = {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn", "os.startfile"}
_NETWORK = {"socket.connect", "socket.getaddrinfo", "urllib.Request", "ftplib.connect", "http.client.connect"}


class Canary:
    """Remembers what a payload would have done; an audit hook cannot be taken off, so it is switched."""

    def __init__(self) -> None:
        self.folder = ""
        self.seen: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder and self._foreign(event, args):
            self.seen.append(f"{event} {args!r}"[:300])

    def _foreign(self, event: str, args: tuple[Any, ...]) -> bool:
        if event in _CALLS:
            return CANARY in repr(args)
        if event in _NETWORK:
            return True
        if event == "exec":
            code = args[0]
            return self._inside(code.co_filename) or CANARY in repr(code.co_consts)
        if event == "import":
            return self._inside(args[1]) or CANARY in str(args[0])
        return event == "ctypes.dlopen" and self._inside(args[0])

    def _inside(self, path: object) -> bool:
        if not isinstance(path, str) or not path or path.startswith("<"):  # code without a file: a dataclass, say
            return False
        return os.path.abspath(path).startswith(self.folder)  # noqa: PTH100


def main(module: str, folder: Path, names: list[str]) -> None:
    cases: list[Case] = [case for case in importlib.import_module(f"hostile.{module}").CASES if case.name in names]
    os.chdir(folder)
    _import_before_forks(cases)
    canary = Canary()
    for case in cases:
        work = folder / case.name / "work"
        work.mkdir(parents=True)
        os.chdir(work)
        case.make(work)
        with (folder / "outcomes").open("a") as file:  # frameworks print on standard output
            file.write(json.dumps({"name": case.name, **_in_a_fork(case, work, canary)}) + "\n")


def _import_before_forks(cases: list[Case]) -> None:
    """What the commands import: by importing it, by running them on a harmless file, each adapter on an empty checkpoint."""
    from adaptrt.cli.boundary import run
    from adaptrt.cli.main import cli
    from adaptrt.specs.commands import COMMANDS

    needs = {name for case in cases for name in case.needs}
    if "cv2" in needs:
        importlib.import_module("adaptrt.vision.opencv")  # first, as in a command: it limits the size of images
    for name in sorted(needs | {"adaptrt.rendering.terminal"}):
        importlib.import_module(name)
    for case in cases:
        importlib.import_module(COMMANDS.find(case.command[0]).target.partition(":")[0])
    if any(case.command[0] == "lint" for case in cases):
        importlib.import_module("adaptrt.graph.lint")
    if "onnxruntime" in sys.modules:
        _run_on_a_harmless_file({case.command[0] for case in cases})
    zipped(Path("nothing.pt"), model_with(b"N"))
    for adapter in sorted({case.command[2] for case in cases if case.command[0] == "convert"}):
        run(cli, convert(adapter, "nothing.pt"), "adaptrt")


def _run_on_a_harmless_file(names: set[str]) -> None:
    """Commands that read a model file, once: what they import late costs half a second for each case otherwise."""
    from adaptrt.cli.boundary import run
    from adaptrt.cli.main import cli

    model(Path(), SPEC)
    for command in (PREDICT, INSPECT, LINT, ("evaluate", "evil.onnx", "--data", "set")):
        if command[0] in names:
            code = run(cli, list(command), "adaptrt")
            assert code == 0, command


def _in_a_fork(case: Case, work: Path, canary: Canary) -> dict[str, Any]:
    started = time.monotonic()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1024
    child = os.fork()
    if child == 0:
        _run(case, work, canary)
    status, usage = 0, None
    while usage is None:
        done, status, found = os.wait4(child, os.WNOHANG)
        if done:
            usage = found
        elif time.monotonic() - started > HANG:
            os.kill(child, 9)
            _, status, usage = os.wait4(child, 0)
        else:
            time.sleep(0.005)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "seconds": usage.ru_utime + usage.ru_stime,
        "megabytes": max(0, usage.ru_maxrss - before) / 1024,
    }


def _run(case: Case, work: Path, canary: Canary) -> None:
    """The command, with its output in files beside the folder; never returns."""
    from adaptrt.cli.boundary import run
    from adaptrt.cli.main import cli

    code = 99
    try:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(work.parent / name, os.O_WRONLY | os.O_CREAT), number)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + (2 * case.megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        seconds = 1 + int(2 * case.seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        canary.folder = str(work)
        code = run(cli, list(case.command), "adaptrt")
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        canary.folder = ""
        (work.parent / "seen").write_text("\n".join(canary.seen))
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
