"""``adaptrt sweep --executor ray``: conversions as Ray tasks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from patience import HANG, wait_until

from adaptrt.errors import UsageError
from adaptrt.specs.executors import EXECUTORS, Command, CommandLimits, RunsCommands
from adaptrt_ray import RayOptions

pytestmark = pytest.mark.full


def command(folder: Path, name: str, program: str) -> Command:
    return Command(name=name, words=(sys.executable, "-c", program), output=folder / f"{name}.json", log=folder / f"{name}.txt")  # fmt: skip


def executor() -> RunsCommands:
    found = EXECUTORS.find("ray")
    assert isinstance(found, RunsCommands)
    return found


def test_commands_run_as_tasks(cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of the caller, by relative paths too, with their exit codes. One ends its worker, another one only once."""
    monkeypatch.chdir(tmp_path)
    kill = "import os, signal; os.kill(os.getppid(), signal.SIGKILL)"
    commands = [
        command(Path(), "good", "import os, sys; print(os.getcwd()); print('log', file=sys.stderr)"),
        command(Path(), "bad", "raise SystemExit(9)"),
        command(Path(), "fatal", kill),
        command(
            Path(),
            "once",
            f"import pathlib; pathlib.Path('started').exists() or [pathlib.Path('started').touch(), exec({kill!r})]",
        ),
    ]
    found = {one.name: one for one in executor().run_commands(commands, CommandLimits(jobs=2), None)}
    assert {name: one.code for name, one in found.items()} == {"good": 0, "bad": 9, "fatal": 1, "once": 0}
    assert Path("good.json").read_text() == f"{tmp_path}\n"
    assert Path("good.txt").read_text() == "log\n"
    assert "The Ray task failed" in Path("fatal.txt").read_text()
    assert cluster.is_initialized()


def writes_its_pid(folder: Path) -> str:
    return f"import os, time; open({str(folder / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(1000)"


def closed_after_first(folder: Path) -> None:
    """``close()`` after the result of a first command, while a second one runs; it ends that one."""
    commands = [
        command(folder, "first", ""),
        command(folder, "long", writes_its_pid(folder)),
        command(folder, "never", ""),
    ]
    results: Any = executor().run_commands(commands, CommandLimits(jobs=2), RayOptions(actors=2))
    assert next(results).name == "first"
    file = folder / "pid"
    wait_until(lambda: file.exists() and bool(file.read_text()), "the start of the second command")
    results.close()
    wait_until(lambda: not running(int(file.read_text())), "the end of the second command")


def test_closing_ends_those_that_run(cluster: Any, tmp_path: Path) -> None:
    closed_after_first(tmp_path)


def test_closing_ends_a_task_that_ignores_its_cancellation(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: Command, *_: object) -> tuple[int, float]:
        import subprocess
        import time

        if command.name == "first":
            return 0, 0.0
        subprocess.Popen(command.words)
        while True:
            try:
                time.sleep(1000)
            except KeyboardInterrupt:
                continue

    monkeypatch.setattr("adaptrt_ray.commands.PATIENCE", 1.0)
    monkeypatch.setattr("adaptrt_ray.commands.run", run)
    closed_after_first(tmp_path)


SWEEP = """
import sys
from pathlib import Path
from adaptrt.errors import AdaptrtError
from adaptrt.specs.executors import EXECUTORS, CommandLimits
from adaptrt.sweep.plan import Cell
from adaptrt.sweep.run import SweepRequest, run_sweep

cells = [Cell(name=name, model="m", values={}, options={"source": name}) for name in ("a", "b")]
ray = EXECUTORS.find("ray")
try:
    run_sweep(SweepRequest(cells=cells, output=Path("swept"), executor=ray, command=(sys.executable, "-c", sys.argv[1])))
except AdaptrtError as error:
    sys.exit(f"{error.message} {error.hint}")
"""
ENDS_RAY = """
import os, signal
worker = os.getppid()
raylet = int(open(f"/proc/{worker}/stat").read().rpartition(")")[2].split()[1])
assert "raylet" in open(f"/proc/{raylet}/comm").read()
os.kill(raylet, signal.SIGKILL)
print("{}")
"""


def start_sweep(folder: Path, program: str) -> subprocess.Popen[str]:
    """Two conversions, one after the other, in a program that starts Ray."""
    words = [sys.executable, "-c", SWEEP, program]
    return subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_sweep_continues_after_the_end_of_ray(tmp_path: Path) -> None:
    """A conversion that did not run has no result, so that the same command runs it."""
    sweep = start_sweep(tmp_path, ENDS_RAY)
    try:
        said = sweep.communicate(timeout=HANG)[1]
    finally:
        sweep.kill()
    assert sweep.returncode == 1
    assert "Ray has ended on this machine. Run the same command again" in said
    assert [path.parent.name for path in tmp_path.rglob("result.json")] == ["a"]
    again = start_sweep(tmp_path, "print('{}')")
    try:
        assert again.wait(HANG) == 0
    finally:
        again.kill()
    assert sorted(path.parent.name for path in tmp_path.rglob("result.json")) == ["a", "b"]


def test_a_killed_sweep_leaves_no_conversion_behind(tmp_path: Path) -> None:
    sweep = start_sweep(tmp_path, writes_its_pid(tmp_path))
    file = tmp_path / "pid"
    try:
        wait_until(lambda: file.exists() and bool(file.read_text()), "the start of a conversion")
    finally:
        sweep.kill()
    wait_until(lambda: not running(int(file.read_text())), "the end of the conversion")
    assert not list(tmp_path.rglob("result.json"))


CANCELED = """
import _thread, signal, subprocess, sys, threading, time
from pathlib import Path
from adaptrt.specs.executors import Command
from adaptrt_ray.commands import run

handler, where, folder, program = sys.argv[1:]
file = Path(folder, "pid")

def cancel():
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    _thread.interrupt_main()

class Popen(subprocess.Popen):
    def __init__(self, *values, **named):
        super().__init__(*values, **named)
        if where == "start":
            cancel()

subprocess.Popen = Popen
signal.signal(signal.SIGINT, getattr(signal, handler))
if where == "wait":
    threading.Thread(target=cancel, daemon=True).start()
command = Command(name="long", words=(sys.executable, "-c", program), output=Path("out"), log=Path("log"))
run(command, sys.executable, folder)
"""


@pytest.mark.parametrize("where", ["start", "wait"])
@pytest.mark.parametrize("handler", ["default_int_handler", "SIG_IGN"])
def test_a_canceled_command_ends(tmp_path: Path, handler: str, where: str) -> None:
    """Also while it starts, and where interrupts are ignored, as in background jobs of a shell script and their workers."""
    words = [sys.executable, "-c", CANCELED, handler, where, str(tmp_path), writes_its_pid(tmp_path)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        said = process.communicate(timeout=HANG)[1]
    finally:
        process.kill()
    assert "KeyboardInterrupt" in said
    assert not running(int((tmp_path / "pid").read_text()))


def test_a_handler_waits_for_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal in the handler of the first would wait for ever."""
    from adaptrt_ray.commands import _cancellation

    with _cancellation() as canceled:
        monkeypatch.setattr(threading.Condition, "__enter__", lambda _: pytest.fail("a lock"))
        signal.raise_signal(signal.SIGINT)
        assert canceled


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    time.sleep(0.05)
    return True


def test_gpus_of_this_machine_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Ray chooses its own"):
        next(iter(executor().run_commands([command(tmp_path, "x", "")], CommandLimits(gpus=("0",)), None)))
